//! Weights in 4 bits (`csrc/nf4.cpp`).
//!
//! Shapes: `o` features out, `i` in, `n = o·i`, `b` blocks of 64.

use std::ffi::{c_char, c_int, c_void};

use tch::{Device, Kind, Tensor};

use super::checked;

/// The tensors of a weight in 4 bits.
#[derive(Debug, Clone, Copy)]
pub struct Nf4Codes<'a> {
    /// Two weights a byte, the first in the upper half, Uint8 `[n/2]`.
    pub codes: &'a Tensor,
    /// The scale of each block of 64 weights, fp32 `[b]`.
    pub scales: &'a Tensor,
    /// The two levels of each byte, fp32 `[256, 2]`.
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

/// Has the kernel for GPUs used, if there is one below these codes.
fn register(codes: &Tensor) {
    if let Device::Cuda(_) = codes.device() {
        super::gpu::register_nf4();
    }
}

fn raw(x: &Tensor) -> *mut c_void {
    x.as_ptr() as *mut c_void
}

/// Returns the weight `[o, i]` in `kind`.
///
/// # Panics
///
/// With libtorch's words if shapes do not match.
pub fn dequantize(of: Nf4Codes, kind: Kind) -> Tensor {
    register(of.codes);
    let like = Tensor::empty([0], (kind, of.codes.device()));
    let mut weight = std::ptr::null_mut();
    // SAFETY: the pointers belong to live tensors; the result is a new tensor of ours.
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

/// Returns `x_ni · weightᵀ + bias_o`, recorded for autograd; computed in fp32 if `widen`. The
/// dequantized weight exists only during the product.
///
/// # Panics
///
/// With libtorch's words if shapes or types do not match, as tch's own operations do.
pub fn linear_nf4(x_ni: &Tensor, of: Nf4Codes, bias_o: Option<&Tensor>, widen: bool) -> Tensor {
    register(of.codes);
    let mut y = std::ptr::null_mut();
    // SAFETY: the pointers belong to live tensors, or null for the bias, as the header allows; the
    // result is a new tensor of ours.
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
