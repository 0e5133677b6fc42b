//! Gradients, where `tch` lacks a function (`csrc/shim.h`).

use std::ffi::{c_char, c_int, c_void};

use tch::Tensor;

use super::checked;

unsafe extern "C" {
    fn ewe_forget_gradient(leaf: *mut c_void, error: *mut c_char, room: usize) -> c_int;
}

/// Frees the gradient that backward passes have accumulated in `leaf`. `tch` can only set it to
/// zero, which keeps its memory and makes the next backward pass add to it.
pub fn forget_gradient(leaf: &Tensor) {
    // SAFETY: the pointer belongs to a live tensor.
    let forgotten =
        checked(|error, room| unsafe { ewe_forget_gradient(leaf.as_ptr() as *mut c_void, error, room) });
    forgotten.expect("a leaf has no other use for its gradient");
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn a_forgotten_gradient_is_none() {
        let leaf = Tensor::ones([3], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        for _ in 0..2 {
            (&leaf * 2.0).sum(Kind::Float).backward();
            assert_eq!(leaf.grad().double_value(&[1]), 2.0, "nothing was left to add to");
            forget_gradient(&leaf);
            assert!(!leaf.grad().defined());
        }
    }
}
