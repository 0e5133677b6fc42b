//! Safe functions over the C++ of `csrc`: the parts of libtorch that `tch` lacks (`csrc/shim.h`),
//! the CPU kernels (`csrc/kernels.h`), and the GPU kernels (`csrc/gpu`). Apart from `dlopen`, this
//! is the only module that calls C.
//!
//! Kernels take contiguous bf16 or fp32 tensors on the CPU, on a thread that holds [`Inference`];
//! see [`usable`]. In training three of them are recorded for autograd ([`recorded`]). For
//! everything else, callers have a path in libtorch's own operations.
//!
//! Shapes: `n` tokens, `d` features, `h` query heads, `k` key/value heads, `s` slots of a cache,
//! `c` tokens of a slot, `v` vocabulary, `g` groups of it.
#![allow(unsafe_code)]

pub mod attention;
pub mod context;
pub mod distributed;
pub mod generator;
pub mod gpu;
mod gradient;
mod kernels;
pub mod keyed;
mod library;
mod linear;
pub mod memory;
pub mod nccl;
pub mod nf4;
pub mod nvml;
pub mod optimizers;
pub mod paged;
pub mod recorded;
pub mod storage;
pub mod stream;
#[cfg_attr(not(test), allow(dead_code))]
pub mod trace;
pub mod transfer;

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};

use anyhow::Result;
use tch::{Device, Kind, NoGradGuard, TchError, Tensor};

pub use gradient::forget_gradient;

pub use kernels::{
    AttentionParams, Gate, Norm, RopePairing, Rounding, Segment, Summary, attend, attends, gated, look_up,
    not_finite, rms_norm, rope, summarise,
};
pub use linear::{PackedLinear, linear_hollow, linear_widened};

thread_local! {
    static INFERENCE: Cell<bool> = const { Cell::new(false) };
}

/// While held, this thread computes without gradients, and with the kernels where it can. Training
/// does not hold it even where it records nothing: what it computes once without and once with
/// gradients must be equal to the last bit.
pub struct Inference {
    before: bool,
    _no_grad: NoGradGuard,
}

impl Inference {
    /// Holds it until dropped.
    pub fn hold() -> Inference {
        Inference {
            before: INFERENCE.replace(true),
            _no_grad: tch::no_grad_guard(),
        }
    }
}

/// Returns whether this thread holds [`Inference`].
pub fn holds() -> bool {
    INFERENCE.get()
}

impl Drop for Inference {
    fn drop(&mut self) {
        INFERENCE.set(self.before);
    }
}

/// Returns whether the kernels take these tensors: all bf16 or all fp32, contiguous, on the CPU, on
/// a thread that holds [`Inference`].
pub fn usable(tensors: &[&Tensor]) -> bool {
    #[cfg(test)]
    if trace::operations_are_forced() {
        return false;
    }
    holds() && alike(tensors)
}

/// Returns whether the kernels can read the memory of these tensors.
fn alike(tensors: &[&Tensor]) -> bool {
    let kind = tensors[0].kind();
    matches!(kind, Kind::BFloat16 | Kind::Float)
        && tensors
            .iter()
            .all(|x| x.kind() == kind && x.device() == Device::Cpu && x.is_contiguous())
}

/// Calls a function of the shim. Its error has libtorch's words.
fn checked(call: impl FnOnce(*mut c_char, usize) -> c_int) -> Result<(), TchError> {
    let mut error = [0 as c_char; 512];
    match call(error.as_mut_ptr(), error.len()) {
        0 => Ok(()),
        // SAFETY: on failure the buffer holds a string that ends with a zero, within its length.
        _ => Err(TchError::Torch(
            unsafe { CStr::from_ptr(error.as_ptr()) }
                .to_string_lossy()
                .into_owned(),
        )),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Returns the same numbers every time, of both signs, none of them round.
    pub fn numbers(size: &[i64], kind: Kind, seed: i64) -> Tensor {
        let count: i64 = size.iter().product();
        let x = (Tensor::arange(count, (Kind::Double, Device::Cpu)) * 0.7371 + seed as f64).sin() * 2.3;
        x.reshape(size).to_kind(kind)
    }

    /// Returns the largest difference, relative to the larger of both plus 1.
    pub fn apart(a: &Tensor, b: &Tensor) -> f64 {
        let (a, b) = (a.to_kind(Kind::Double), b.to_kind(Kind::Double));
        ((&a - &b).abs() / (a.abs().maximum(&b.abs()) + 1.0))
            .max()
            .double_value(&[])
    }

    /// Returns the distance from 1 to the next number of a type: two roundings of nearly equal
    /// numbers differ by at most that.
    pub fn step(kind: Kind) -> f64 {
        if kind == Kind::Float { 3e-6 } else { 1.0 / 128.0 }
    }

    pub const KINDS: [Kind; 2] = [Kind::Float, Kind::BFloat16];

    #[test]
    fn only_a_thread_that_holds_inference_uses_the_kernels_and_only_for_what_they_take() {
        let x = numbers(&[4, 32], Kind::Float, 1);
        assert!(!usable(&[&x]));
        let held = Inference::hold();
        assert!(usable(&[&x, &x]));
        assert!(!usable(&[&x.tr()]));
        assert!(!usable(&[&x, &x.to_kind(Kind::BFloat16)]));
        assert!(!usable(&[&x.to_kind(Kind::Half)]));
        assert!(!std::thread::spawn(move || usable(&[&x])).join().unwrap());
        drop(held);
        assert!(!usable(&[&numbers(&[2, 2], Kind::Float, 1)]));
    }
}
