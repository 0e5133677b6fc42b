//! The gate of an MLP in one launch; `csrc/gpu/gated.h`.
//!
//! Shapes: `d` features; any dimensions before them.

use super::{Argument, Kernels, WARP, groups, rows_of};
use crate::shim::Gate;
use anyhow::{Result, bail};
use std::ffi::c_void;
use tch::{Kind, Tensor};

/// Features that a lane takes.
const FEATURES: i64 = 8;

/// `GatedCall` of the header.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Call {
    gate: *const c_void,
    up: *const c_void,
    out: *mut c_void,
    gate_row: i64,
    up_row: i64,
    rows: i64,
    width: i64,
    is_gelu: i32,
    aligned: i32,
}

/// Returns `activation(gate) · up`, elementwise and contiguous. Without gradients.
///
/// # Errors
///
/// If the kernel cannot be compiled or launched, or the type is neither bf16 nor fp32.
///
/// # Panics
///
/// If sizes, types or devices do not fit together.
pub fn gated(activation: Gate, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let (kind, device, size) = (gate.kind(), gate.device(), gate.size());
    let name = match kind {
        Kind::BFloat16 => "gated_bf16",
        Kind::Float => "gated_fp32",
        _ => bail!("there is no kernel for {kind:?}"),
    };
    assert!(
        up.kind() == kind && up.device() == device && up.size() == size,
        "{:?} {:?} on {:?} for {size:?} {kind:?} on {device:?}",
        up.size(),
        up.kind(),
        up.device()
    );
    let width = *size.last().expect("a tensor of features");
    let kernels = Kernels::on(device)?;
    kernels.load(name)?;
    let (gate, gate_row) = in_rows(gate);
    let (up, up_row) = in_rows(up);
    let rows = gate.numel() as i64 / width.max(1);
    let out = Tensor::empty(&size, (kind, device));
    let mut call = Call {
        gate: gate.data_ptr(),
        up: up.data_ptr(),
        out: out.data_ptr(),
        gate_row,
        up_row,
        rows,
        width,
        is_gelu: i32::from(activation == Gate::GeluTanh),
        aligned: 0,
    };
    call.aligned = i32::from(call.is_aligned());
    let work = groups(rows * groups(width, FEATURES), WARP);
    // SAFETY: the kernel takes the call alone, which outlives the launch; its tensors have the
    // types and sizes that it tells, as checked or made here.
    unsafe { kernels.launch(name, work, &[Argument::by_value(&call)])? };
    Ok(out)
}

/// Returns a tensor and the elements between two of its rows: a copy if rows are not equally far
/// apart.
fn in_rows(x: &Tensor) -> (Tensor, i64) {
    match rows_of(x) {
        Some([(_, apart), (1, _)]) => (x.shallow_clone(), apart),
        _ => (x.contiguous(), x.size().last().copied().unwrap_or(1)),
    }
}

impl Call {
    /// Whether 8 features may be read and written at once wherever 8 begin.
    fn is_aligned(&self) -> bool {
        let addresses = [self.gate, self.up, self.out.cast_const()];
        let distances = [self.width, self.gate_row, self.up_row];
        addresses.iter().all(|at| (*at as usize).is_multiple_of(16))
            && distances.iter().all(|distance| distance % FEATURES == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::tests::{KINDS, apart, numbers, step};
    use tch::Device;

    fn composed(activation: Gate, gate: &Tensor, up: &Tensor) -> Tensor {
        match activation {
            Gate::Silu => gate.silu() * up,
            Gate::GeluTanh => gate.gelu("tanh") * up,
        }
    }

    /// Gate and up are halves of one product, or tensors of their own.
    #[test]
    fn it_gives_what_libtorchs_operations_give() {
        for kind in KINDS {
            for activation in [Gate::Silu, Gate::GeluTanh] {
                for width in [1, 7, 64, 255, 264, 1000] {
                    let product = numbers(&[2, 3, 2 * width], kind, 1) * 2.0;
                    let halves = [0, width].map(|start| product.narrow(2, start, width));
                    let whole = halves.each_ref().map(Tensor::contiguous);
                    // Rows that are not equally far apart.
                    let odd = halves.each_ref().map(|x| x.narrow(1, 0, 2));
                    for [gate, up] in [halves, whole, odd] {
                        let ours = gated(activation, &gate, &up).unwrap();
                        let want = composed(activation, &gate, &up);
                        assert!(ours.is_contiguous() && ours.size() == want.size());
                        let by = apart(&ours, &want);
                        assert!(by <= step(kind), "{kind:?}, {activation:?}, {width}: {by}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_broken_stays_broken_and_large_numbers_do_not_break() {
        let gate = Tensor::from_slice(&[f32::NAN, f32::INFINITY, -1e30, 1e30, 0.0]);
        let of = |activation| {
            let ours = gated(activation, &gate, &gate.ones_like()).unwrap();
            Vec::<f32>::try_from(ours).unwrap()
        };
        let silu = of(Gate::Silu);
        assert!(silu[0].is_nan(), "{silu:?}");
        assert_eq!(silu[1..], [f32::INFINITY, 0.0, 1e30, 0.0]);
        assert!(of(Gate::GeluTanh)[0].is_nan());
    }

    #[test]
    fn half_precision_has_no_kernel_and_no_rows_need_none() {
        let of = |x: &Tensor| gated(Gate::Silu, x, x);
        let error = of(&numbers(&[2, 8], Kind::Half, 1)).unwrap_err();
        assert!(error.to_string().contains("Half"));
        let none = Tensor::zeros([0, 8], (Kind::Float, Device::Cpu));
        assert_eq!(of(&none).unwrap().size(), [0, 8]);
        assert_eq!(of(&numbers(&[8], Kind::Float, 1)).unwrap().size(), [8]);
    }

    #[test]
    fn the_call_has_the_size_of_the_header() {
        assert_eq!(size_of::<Call>(), 64);
    }
}
