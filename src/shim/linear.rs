//! Products with weights that are packed once, by `csrc/shim.h`.

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
}

/// Weights in the order in which oneDNN multiplies by them.
#[derive(Debug)]
pub struct PackedLinear {
    packed: Tensor,
}

impl PackedLinear {
    /// Packs `weight` `[out, in]`, of which it is a copy. Fails where this processor or this libtorch has no such order.
    pub fn pack(weight: &Tensor) -> Result<PackedLinear> {
        let mut packed = std::ptr::null_mut();
        // SAFETY: the pointer is a live tensor's; what comes back is a new one of ours.
        let packed = unsafe {
            checked(|error, room| ewe_linear_pack(weight.as_ptr() as *mut c_void, &mut packed, error, room))?;
            Tensor::from_ptr(packed.cast())
        };
        Ok(PackedLinear { packed })
    }

    /// `x_ni` `[n, in]` to `[n, out]`.
    ///
    /// # Panics
    ///
    /// With libtorch's words if shapes or types do not match, as tch's own operations do.
    pub fn forward(&self, x_ni: &Tensor, bias: Option<&Tensor>) -> Tensor {
        let mut y = std::ptr::null_mut();
        let bias = bias.map_or(std::ptr::null_mut(), |bias| bias.as_ptr() as *mut c_void);
        // SAFETY: the pointers are live tensors'; what comes back is a new one of ours.
        unsafe {
            checked(|error, room| {
                let (x, packed) = (x_ni.as_ptr() as *mut c_void, self.packed.as_ptr() as *mut c_void);
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

    #[test]
    fn packed_weights_multiply_as_they_did_before() {
        let weight = numbers(&[48, 32], Kind::BFloat16, 1);
        let Ok(packed) = PackedLinear::pack(&weight) else {
            // No bf16 in this processor's oneDNN; nothing uses it then.
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
