//! Root-mean-square norm with the sum before or behind it, in one launch; `csrc/gpu/rms_norm.h`.
//!
//! Shapes: `d` features; any dimensions before them.

use super::{Argument, Kernels, rows_of};
use crate::shim::Norm;
use anyhow::{Result, bail};
use std::ffi::c_void;
use tch::{Kind, Tensor};

/// Features that a lane reads at once.
const FEATURES: i64 = 8;

/// What is added to a row.
#[derive(Debug, Clone, Copy)]
pub enum NormResidual<'a> {
    /// Nothing.
    None,
    /// This, before the norm: the sum is normalized, and returned too.
    Before(&'a Tensor),
    /// This, to the normalized row.
    Behind(&'a Tensor),
}

/// `RmsNormCall` of the header.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Call {
    x: *const c_void,
    weight: *const c_void,
    residual: *const c_void,
    sum: *mut c_void,
    out: *mut c_void,
    x_token: i64,
    x_head: i64,
    tokens: i64,
    heads: i64,
    width: i64,
    eps: f32,
    is_gemma: i32,
    aligned: i32,
    unused: i32,
}

/// Returns `norm(x)` times the weight, contiguous, and the sum that was normalized if something is
/// added before. Without gradients.
///
/// # Errors
///
/// If the kernel cannot be compiled or launched, or the type is neither bf16 nor fp32.
///
/// # Panics
///
/// If sizes, types or devices do not fit together.
pub fn rms_norm(
    norm: Norm,
    x: &Tensor,
    weight_d: &Tensor,
    residual: NormResidual,
    eps: f64,
) -> Result<(Tensor, Option<Tensor>)> {
    let (kind, device, size) = (x.kind(), x.device(), x.size());
    let name = match kind {
        Kind::BFloat16 => "rms_norm_bf16",
        Kind::Float => "rms_norm_fp32",
        _ => bail!("there is no kernel for {kind:?}"),
    };
    let width = *size.last().expect("a tensor of features");
    let kernels = Kernels::on(device)?;
    kernels.load(name)?;
    let x = match rows_of(x) {
        Some(_) => x.shallow_clone(),
        None => x.contiguous(),
    };
    let [(tokens, x_token), (heads, x_head)] = rows_of(&x).expect("rows of a contiguous tensor");
    let given = match residual {
        NormResidual::None => None,
        NormResidual::Before(x) | NormResidual::Behind(x) => Some(x.contiguous()),
    };
    let new = || Tensor::empty(&size, (kind, device));
    let (out, sum) = (new(), matches!(residual, NormResidual::Before(_)).then(new));
    let weight_d = weight_d.contiguous();
    assert!(
        weight_d.size() == [width] && given.as_ref().is_none_or(|given| given.size() == size),
        "weights {:?} and a residual {:?} for {size:?}",
        weight_d.size(),
        given.as_ref().map(Tensor::size)
    );
    let others = [Some(&weight_d), given.as_ref()];
    assert!(
        others
            .into_iter()
            .flatten()
            .all(|other| other.kind() == kind && other.device() == device),
        "one type and device"
    );
    let address = |x: &Option<Tensor>| x.as_ref().map_or(std::ptr::null_mut(), Tensor::data_ptr);
    let mut call = Call {
        x: x.data_ptr(),
        weight: weight_d.data_ptr(),
        residual: address(&given),
        sum: address(&sum),
        out: out.data_ptr(),
        x_token,
        x_head,
        tokens,
        heads,
        width,
        eps: eps as f32,
        is_gemma: i32::from(norm == Norm::Gemma),
        aligned: 0,
        unused: 0,
    };
    call.aligned = i32::from(call.is_aligned());
    // SAFETY: the kernel takes the call alone, which outlives the launch; its tensors have the
    // types and sizes that it tells, as checked or made here.
    unsafe { kernels.launch(name, tokens * heads, &[Argument::by_value(&call)])? };
    Ok((out, sum))
}

impl Call {
    /// Whether 8 features may be read and written at once wherever 8 begin.
    fn is_aligned(&self) -> bool {
        let addresses = [
            self.x,
            self.weight,
            self.residual,
            self.sum.cast_const(),
            self.out.cast_const(),
        ];
        let distances = [self.width, self.x_token, self.x_head];
        addresses.iter().all(|at| (*at as usize).is_multiple_of(16))
            && distances.iter().all(|distance| distance % FEATURES == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::tests::{apart, numbers, step};
    use tch::Device;

    /// Normalizes in libtorch's operations, as `model::layers::norm` does.
    fn composed(norm: Norm, x: &Tensor, weight_d: &Tensor, eps: f64) -> Tensor {
        let (kind, width) = (x.kind(), weight_d.size());
        let wide = x.to_kind(Kind::Float);
        if norm == Norm::Gemma {
            let scale_d = weight_d.to_kind(Kind::Float) + 1.0;
            return wide.rms_norm(width, Some(&scale_d), eps).to_kind(kind);
        }
        wide.rms_norm(width, None::<&Tensor>, eps).to_kind(kind) * weight_d
    }

    fn bits(x: &Tensor) -> Tensor {
        x.contiguous().view_dtype(match x.kind() {
            Kind::Float => Kind::Int,
            _ => Kind::Int16,
        })
    }

    /// Multiples of 1/2 whose squares have exact sums, in whatever order they are added.
    fn exact(size: &[i64], kind: Kind, seed: i64) -> Tensor {
        ((numbers(size, Kind::Float, seed) * 4.0).round() * 0.5).to_kind(kind)
    }

    const KINDS: [Kind; 2] = [Kind::Float, Kind::BFloat16];
    const WIDTHS: [i64; 6] = [1, 7, 64, 255, 264, 2048];

    #[test]
    fn it_rounds_where_libtorchs_operations_round() {
        for kind in KINDS {
            for norm in [Norm::Llama, Norm::Gemma] {
                for width in WIDTHS {
                    let size = [2, 3, width];
                    let (x, residual) = (exact(&size, kind, 1), exact(&size, kind, 2));
                    let weight_d = numbers(&[width], kind, 3);
                    let at = format!("{kind:?}, {norm:?}, {width} features");
                    let of = |x: &Tensor, residual| rms_norm(norm, x, &weight_d, residual, 1e-6).unwrap();
                    let (plain, none) = of(&x, NormResidual::None);
                    let want = composed(norm, &x, &weight_d, 1e-6);
                    assert_eq!(bits(&plain), bits(&want), "{at}");
                    assert!(none.is_none(), "{at}");
                    let (behind, none) = of(&x, NormResidual::Behind(&residual));
                    assert_eq!(bits(&behind), bits(&(&residual + &want)), "{at}, added behind");
                    assert!(none.is_none(), "{at}");
                    let (before, sum) = of(&x, NormResidual::Before(&residual));
                    let want = &x + &residual;
                    assert_eq!(bits(&sum.unwrap()), bits(&want), "{at}, sum");
                    let want = composed(norm, &want, &weight_d, 1e-6);
                    assert_eq!(bits(&before), bits(&want), "{at}, added before");
                }
            }
        }
    }

    /// Squares are added in another order than libtorch's.
    #[test]
    fn any_numbers_are_normalized_up_to_the_last_bit() {
        for kind in KINDS {
            for norm in [Norm::Llama, Norm::Gemma] {
                let (x, weight_d) = (numbers(&[5, 2056], kind, 1), numbers(&[2056], kind, 3));
                let (ours, _) = rms_norm(norm, &x, &weight_d, NormResidual::None, 1e-6).unwrap();
                let by = apart(&ours, &composed(norm, &x, &weight_d, 1e-6));
                assert!(by <= step(kind), "{kind:?}, {norm:?}: {by}");
            }
        }
    }

    /// Queries are a part of one product, and have a norm for each head.
    #[test]
    fn rows_may_lie_apart() {
        for kind in KINDS {
            let weight_d = numbers(&[16], kind, 3);
            let product = exact(&[2, 3, 5 * 16], kind, 1);
            let heads = product.narrow(2, 16, 3 * 16).view([2, 3, 3, 16]);
            let others = [
                heads.shallow_clone(),
                heads.narrow(2, 1, 1),
                heads.narrow(0, 1, 1).narrow(1, 2, 1),
                // More dimensions than two, and features that lie apart.
                heads.transpose(0, 2),
                exact(&[16, 4], kind, 2).tr(),
            ];
            for x in others {
                let (ours, _) = rms_norm(Norm::Llama, &x, &weight_d, NormResidual::None, 1e-6).unwrap();
                let want = composed(Norm::Llama, &x, &weight_d, 1e-6);
                assert!(ours.is_contiguous() && ours.size() == x.size());
                assert_eq!(
                    bits(&ours),
                    bits(&want),
                    "{kind:?} {:?} {:?}",
                    x.size(),
                    x.stride()
                );
            }
        }
        let flat = numbers(&[2, 3, 80], Kind::Float, 1);
        assert_eq!(rows_of(&flat), Some([(6, 80), (1, 80)]));
        let heads = flat.narrow(2, 16, 48).view([2, 3, 3, 16]);
        assert_eq!(rows_of(&heads), Some([(6, 80), (3, 16)]));
        assert_eq!(rows_of(&heads.transpose(0, 2)), None);
        assert_eq!(rows_of(&flat.transpose(1, 2)), None);
    }

    #[test]
    fn half_precision_has_no_kernel_and_no_rows_need_none() {
        let of = |x: &Tensor| {
            let weight_d = Tensor::ones([8], (x.kind(), Device::Cpu));
            rms_norm(Norm::Llama, x, &weight_d, NormResidual::None, 1e-6)
        };
        let error = of(&numbers(&[2, 8], Kind::Half, 1)).unwrap_err();
        assert!(error.to_string().contains("Half"));
        assert_eq!(of(&numbers(&[0, 8], Kind::Float, 1)).unwrap().0.size(), [0, 8]);
        assert_eq!(of(&numbers(&[8], Kind::Float, 1)).unwrap().0.size(), [8]);
    }

    #[test]
    fn the_call_has_the_size_of_the_header() {
        assert_eq!(size_of::<Call>(), 96);
    }
}
