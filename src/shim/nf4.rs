//! Weights in 4 bits, by `csrc/nf4.cpp`.

use std::ffi::{c_char, c_int, c_void};

use tch::{Kind, Tensor};

use super::checked;

/// A weight in 4 bits.
#[derive(Debug, Clone, Copy)]
pub struct Coded<'a> {
    /// Two weights a byte, the first in the upper half, Uint8 `[n/2]`.
    pub codes: &'a Tensor,
    /// What the levels of each 64 weights are multiplied with, fp32 `[b]`.
    pub scales: &'a Tensor,
    /// The two levels of a byte, fp32 `[256, 2]`.
    pub table: &'a Tensor,
    /// `[o, i]`.
    pub size: (i64, i64),
}

unsafe extern "C" {
    fn ewe_nf4_values(
        codes: *mut c_void,
        scales: *mut c_void,
        table: *mut c_void,
        outputs: i64,
        inputs: i64,
        like: *mut c_void,
        weight: *mut *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
    fn ewe_linear_nf4(
        x: *mut c_void,
        codes: *mut c_void,
        scales: *mut c_void,
        table: *mut c_void,
        outputs: i64,
        bias: *mut c_void,
        widen: c_int,
        y: *mut *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
}

fn raw(x: &Tensor) -> *mut c_void {
    x.as_ptr() as *mut c_void
}

/// The weight `[o, i]` that `of` stands for, in `kind`.
///
/// # Panics
///
/// With libtorch's words if shapes do not match.
pub fn dequantised(of: Coded, kind: Kind) -> Tensor {
    let like = Tensor::empty([0], (kind, of.codes.device()));
    let mut weight = std::ptr::null_mut();
    // SAFETY: the pointers are live tensors'; what comes back is a new one of ours.
    unsafe {
        checked(|error, room| {
            let (codes, scales, table, like) = (raw(of.codes), raw(of.scales), raw(of.table), raw(&like));
            let (outputs, inputs) = of.size;
            ewe_nf4_values(
                codes,
                scales,
                table,
                outputs,
                inputs,
                like,
                &mut weight,
                error,
                room,
            )
        })
        .expect("codes and scales that fit");
        Tensor::from_ptr(weight.cast())
    }
}

/// `x_ni · weightᵀ + bias_o`, recorded for autograd, where the weight exists while it is multiplied with only; in fp32 if `widen`.
///
/// # Panics
///
/// With libtorch's words if shapes or types do not match, as tch's own operations do.
pub fn linear_nf4(x_ni: &Tensor, of: Coded, bias_o: Option<&Tensor>, widen: bool) -> Tensor {
    let mut y = std::ptr::null_mut();
    // SAFETY: the pointers are live tensors' or null, as the header allows of the bias; what comes back is a new one of ours.
    unsafe {
        checked(|error, room| {
            let (x, codes, scales, table) = (raw(x_ni), raw(of.codes), raw(of.scales), raw(of.table));
            let bias = bias_o.map_or(std::ptr::null_mut(), raw);
            let widen = c_int::from(widen);
            ewe_linear_nf4(
                x, codes, scales, table, of.size.0, bias, widen, &mut y, error, room,
            )
        })
        .expect("a product of matrices that fit");
        Tensor::from_ptr(y.cast())
    }
}
