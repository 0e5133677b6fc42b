//! Products with the weights of a layer (`csrc/linear.cpp`).

use std::ffi::{c_char, c_int, c_void};

use anyhow::Result;
use tch::Tensor;

use super::checked;

unsafe extern "C" {
    fn ewe_linear_pack(
        weight: *mut c_void,
        packed: *mut *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
    fn ewe_linear_packed(
        x: *mut c_void,
        packed: *mut c_void,
        bias: *mut c_void,
        y: *mut *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
    fn ewe_linear_hollow(
        x: *mut c_void,
        weight: *mut c_void,
        bias: *mut c_void,
        y: *mut *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
    fn ewe_linear_widened(
        x: *mut c_void,
        weight: *mut c_void,
        bias: *mut c_void,
        y: *mut *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
}

fn raw(x: Option<&Tensor>) -> *mut c_void {
    x.map_or(std::ptr::null_mut(), |x| x.as_ptr() as *mut c_void)
}

/// Returns `x_ni · weight_oiᵀ + bias_o`, computed in fp32 whatever the inputs' type and rounded
/// once, in the backward pass too. No fp32 copy is kept for the backward pass.
///
/// # Panics
///
/// With libtorch's words if shapes or types do not match, as tch's own operations do.
pub fn linear_widened(x_ni: &Tensor, weight_oi: &Tensor, bias_o: Option<&Tensor>) -> Tensor {
    call(ewe_linear_widened, x_ni, weight_oi, bias_o)
}

/// Allocates what `x_ni · weight_oiᵀ + bias_o` does, in the backward pass too, filled with zeros.
/// Nothing is computed.
pub fn linear_hollow(x_ni: &Tensor, weight_oi: &Tensor, bias_o: Option<&Tensor>) -> Tensor {
    call(ewe_linear_hollow, x_ni, weight_oi, bias_o)
}

type LinearFn = unsafe extern "C" fn(
    *mut c_void,
    *mut c_void,
    *mut c_void,
    *mut *mut c_void,
    *mut c_char,
    usize,
) -> c_int;

fn call(linear: LinearFn, x_ni: &Tensor, weight_oi: &Tensor, bias_o: Option<&Tensor>) -> Tensor {
    let mut y = std::ptr::null_mut();
    // SAFETY: the pointers belong to live tensors, or null for the bias, as the header allows; the
    // result is a new tensor of ours.
    unsafe {
        checked(|error, room| {
            let (x, weight, bias) = (raw(Some(x_ni)), raw(Some(weight_oi)), raw(bias_o));
            linear(x, weight, bias, &mut y, error, room)
        })
        .expect("a product of matrices that fit");
        Tensor::from_ptr(y.cast())
    }
}

/// A weight in oneDNN's own order of elements.
#[derive(Debug)]
pub struct PackedLinear {
    packed: Tensor,
}

impl PackedLinear {
    /// Makes a packed copy of `weight` `[out, in]`. Fails if this processor or this libtorch has no
    /// such order.
    pub fn pack(weight: &Tensor) -> Result<PackedLinear> {
        let mut packed = std::ptr::null_mut();
        // SAFETY: the pointer belongs to a live tensor; the result is a new tensor of ours.
        let packed = unsafe {
            checked(|error, room| ewe_linear_pack(weight.as_ptr() as *mut c_void, &mut packed, error, room))?;
            Tensor::from_ptr(packed.cast())
        };
        Ok(PackedLinear { packed })
    }

    /// Maps `x_ni` `[n, in]` to `[n, out]`.
    ///
    /// # Panics
    ///
    /// With libtorch's words if shapes or types do not match, as tch's own operations do.
    pub fn forward(&self, x_ni: &Tensor, bias: Option<&Tensor>) -> Tensor {
        let mut y = std::ptr::null_mut();
        // SAFETY: the pointers belong to live tensors; the result is a new tensor of ours.
        unsafe {
            checked(|error, room| {
                let (x, packed, bias) = (raw(Some(x_ni)), raw(Some(&self.packed)), raw(bias));
                ewe_linear_packed(x, packed, bias, &mut y, error, room)
            })
            .expect("a product of matrices that fit");
            Tensor::from_ptr(y.cast())
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::super::tests::{apart, numbers, step};
    use super::*;

    /// Result and gradients equal those of the same product in fp32, rounded once.
    #[test]
    fn widened_products_round_once() {
        let leaf = |x: Tensor| x.detach().set_requires_grad(true);
        let of_16_bits = [
            numbers(&[5, 32], Kind::BFloat16, 1),
            numbers(&[48, 32], Kind::BFloat16, 2),
            numbers(&[48], Kind::BFloat16, 3),
        ];
        let seed = numbers(&[5, 48], Kind::BFloat16, 4);
        for bias in [true, false] {
            let run = |kind: Kind| {
                let [x, weight, shift] = of_16_bits.each_ref().map(|x| leaf(x.to_kind(kind)));
                let shift = bias.then_some(shift);
                let y = match kind {
                    Kind::Float => x.linear(&weight, shift.as_ref()),
                    _ => linear_widened(&x, &weight, shift.as_ref()),
                };
                (&y * &seed.to_kind(kind)).sum(Kind::Float).backward();
                let gradients = [x.grad(), weight.grad()].into_iter();
                let all = gradients.chain(shift.map(|shift| shift.grad())).chain([y]);
                all.map(|x| x.to_kind(Kind::BFloat16)).collect::<Vec<_>>()
            };
            assert_eq!(run(Kind::BFloat16), run(Kind::Float), "bias {bias}");
        }
        // A tensor that needs no gradient gets none.
        let [x, weight, _] = of_16_bits;
        for linear in [linear_widened, linear_hollow] {
            let x = leaf(x.copy());
            let y = linear(&x, &weight, None);
            y.sum(Kind::Float).backward();
            assert!(x.grad().defined() && !weight.grad().defined());
            assert_eq!((y.size(), y.kind()), (vec![5, 48], Kind::BFloat16));
        }
    }

    #[test]
    fn packed_weights_multiply_as_they_did_before() {
        let weight = numbers(&[48, 32], Kind::BFloat16, 1);
        let Ok(packed) = PackedLinear::pack(&weight) else {
            // oneDNN has no bf16 on this processor, so nothing uses packed weights.
            return;
        };
        let bias = numbers(&[48], Kind::BFloat16, 3);
        for rows in [1, 5, 70] {
            let x = numbers(&[rows, 32], Kind::BFloat16, 2);
            for bias in [None, Some(&bias)] {
                let want = x.linear(&weight, bias);
                assert!(
                    apart(&packed.forward(&x, bias), &want) <= step(Kind::BFloat16),
                    "{rows}"
                );
            }
        }
    }
}
