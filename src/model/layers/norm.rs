//! Normalization layers. `x` has any number of dimensions before its `d` features.

use std::sync::atomic::{AtomicBool, Ordering};

use tch::{Kind, Tensor};

use crate::shim::gpu::{self, NormResidual, rms_norm};
use crate::shim::recorded::{self, recordable};
use crate::shim::{self, Norm};

/// Normalizes on a GPU in one launch, for inference. Returns the norm, and the sum that was
/// normalized if something is added before it. None off GPUs, in fp16, with gradients, and where
/// the kernel cannot be compiled.
fn by_kernel(
    norm: Norm,
    x: &Tensor,
    weight_d: &Tensor,
    residual: NormResidual,
    eps: f64,
) -> Option<(Tensor, Option<Tensor>)> {
    static IS_MISSING: AtomicBool = AtomicBool::new(false);
    let takes = gpu::takes(x) && weight_d.kind() == x.kind();
    if !takes || IS_MISSING.load(Ordering::Relaxed) {
        return None;
    }
    rms_norm(norm, x, weight_d, residual, eps)
        .inspect_err(|error| {
            if !IS_MISSING.swap(true, Ordering::Relaxed) {
                tracing::warn!("norms go without their kernel: {error:#}");
            }
        })
        .ok()
}

/// Normalizes in training, as one operation. None on a GPU, in fp16, and where the weight is
/// trained, too.
fn by_recorded(
    norm: Norm,
    x: &Tensor,
    weight_d: &Tensor,
    residual: Option<&Tensor>,
    eps: f64,
) -> Option<Tensor> {
    let takes = recordable(&[x, weight_d, residual.unwrap_or(x)]) && !weight_d.requires_grad();
    takes.then(|| recorded::rms_norm(norm, x, weight_d, residual, eps))
}

/// Root-mean-square norm in Gemma's form: computed in fp32; the weight is the scale minus 1.
#[derive(Debug)]
pub struct RmsNorm {
    /// Path in the checkpoint, without `.weight`.
    pub path: String,
    /// `[d]`; the scale is `1 + weight`.
    pub weight: Tensor,
    /// Added to the mean square.
    pub eps: f64,
}

impl RmsNorm {
    /// Normalizes `x`; shape and type stay.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        if shim::usable(&[x, &self.weight]) {
            return shim::rms_norm(Norm::Gemma, x, &self.weight, None, self.eps);
        }
        if let Some((normed, _)) = by_kernel(Norm::Gemma, x, &self.weight, NormResidual::None, self.eps) {
            return normed;
        }
        if let Some(normed) = by_recorded(Norm::Gemma, x, &self.weight, None, self.eps) {
            return normed;
        }
        let scale_d = self.weight.to_kind(Kind::Float) + 1.0;
        x.to_kind(Kind::Float)
            .rms_norm(self.weight.size(), Some(&scale_d), self.eps)
            .to_kind(x.kind())
    }

    /// Adds the weight with its name to `found`.
    pub fn list(&self, found: &mut Vec<(String, Tensor)>) {
        found.push((format!("{}.weight", self.path), self.weight.shallow_clone()));
    }

    /// Returns `residual + norm(x)`.
    pub fn add_to(&self, residual: &Tensor, x: &Tensor) -> Tensor {
        if shim::usable(&[x, &self.weight, residual]) {
            return shim::rms_norm(Norm::Gemma, x, &self.weight, Some(residual), self.eps);
        }
        if let Some(added) = by_recorded(Norm::Gemma, x, &self.weight, Some(residual), self.eps) {
            return added;
        }
        let behind = NormResidual::Behind(residual);
        match by_kernel(Norm::Gemma, x, &self.weight, behind, self.eps) {
            Some((added, _)) => added,
            None => residual + self.forward(x),
        }
    }
}

/// Root-mean-square norm (Zhang and Sennrich 2019) in Llama's form: computed in fp32, rounded to
/// the input's type, then scaled in that type.
#[derive(Debug)]
pub struct PlainRmsNorm {
    /// Path in the checkpoint, without `.weight`.
    pub path: String,
    /// The scale, `[d]`.
    pub weight: Tensor,
    /// Added to the mean square.
    pub eps: f64,
}

impl PlainRmsNorm {
    /// Normalizes `x`; shape and type stay.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        if shim::usable(&[x, &self.weight]) {
            return shim::rms_norm(Norm::Llama, x, &self.weight, None, self.eps);
        }
        if let Some((normed, _)) = by_kernel(Norm::Llama, x, &self.weight, NormResidual::None, self.eps) {
            return normed;
        }
        if let Some(normed) = by_recorded(Norm::Llama, x, &self.weight, None, self.eps) {
            return normed;
        }
        let width = self.weight.size();
        if x.kind() == Kind::Float {
            return x.rms_norm(width, Some(&self.weight), self.eps);
        }
        x.to_kind(Kind::Float)
            .rms_norm(width, None::<&Tensor>, self.eps)
            .to_kind(x.kind())
            * &self.weight
    }

    /// Returns `residual + x`, and its norm.
    pub fn of_sum(&self, residual: &Tensor, x: &Tensor) -> (Tensor, Tensor) {
        let before = NormResidual::Before(residual);
        if let Some((normed, Some(sum))) = by_kernel(Norm::Llama, x, &self.weight, before, self.eps) {
            return (sum, normed);
        }
        let sum = residual + x;
        let normed = self.forward(&sum);
        (sum, normed)
    }

    /// Adds the weight with its name to `found`.
    pub fn list(&self, found: &mut Vec<(String, Tensor)>) {
        found.push((format!("{}.weight", self.path), self.weight.shallow_clone()));
    }
}

/// Root-mean-square norm in OLMo 2's form: computed and scaled in fp32, then rounded to the input's
/// type.
#[derive(Debug)]
pub struct Fp32RmsNorm {
    /// Path in the checkpoint, without `.weight`.
    pub path: String,
    /// The scale, `[d]`.
    pub weight: Tensor,
    /// Added to the mean square.
    pub eps: f64,
}

impl Fp32RmsNorm {
    /// Normalizes `x`; shape and type stay.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let (wide, scale_d) = (x.to_kind(Kind::Float), self.weight.to_kind(Kind::Float));
        let normed = if shim::usable(&[&wide, &scale_d]) {
            // In fp32 nothing is rounded before the scale.
            shim::rms_norm(Norm::Llama, &wide, &scale_d, None, self.eps)
        } else {
            wide.rms_norm(self.weight.size(), Some(&scale_d), self.eps)
        };
        normed.to_kind(x.kind())
    }

    /// Adds the weight with its name to `found`.
    pub fn list(&self, found: &mut Vec<(String, Tensor)>) {
        found.push((format!("{}.weight", self.path), self.weight.shallow_clone()));
    }
}

/// Layer norm (Ba et al. 2016) with scale, and mostly a shift.
#[derive(Debug)]
pub struct LayerNorm {
    /// Path in the checkpoint, without `.weight`.
    pub path: String,
    /// The scale, `[d]`.
    pub weight: Tensor,
    /// The shift, `[d]`, if there is one.
    pub bias: Option<Tensor>,
    /// Added to the variance.
    pub eps: f64,
}

impl LayerNorm {
    /// Normalizes `x`; shape and type stay.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(
            self.weight.size(),
            Some(&self.weight),
            self.bias.as_ref(),
            self.eps,
            true,
        )
    }

    /// Adds weight and bias with their names to `found`.
    pub fn list(&self, found: &mut Vec<(String, Tensor)>) {
        found.push((format!("{}.weight", self.path), self.weight.shallow_clone()));
        if let Some(bias) = &self.bias {
            found.push((format!("{}.bias", self.path), bias.shallow_clone()));
        }
    }
}

/// One of these norms, where it does not matter which.
#[derive(Debug)]
pub enum AnyNorm {
    /// Gemma's.
    Gemma(RmsNorm),
    /// Llama's.
    Plain(PlainRmsNorm),
    /// OLMo 2's.
    Fp32(Fp32RmsNorm),
    /// With a mean.
    Layer(LayerNorm),
}

impl AnyNorm {
    /// Normalizes `x`; shape and type stay.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        match self {
            AnyNorm::Gemma(norm) => norm.forward(x),
            AnyNorm::Plain(norm) => norm.forward(x),
            AnyNorm::Fp32(norm) => norm.forward(x),
            AnyNorm::Layer(norm) => norm.forward(x),
        }
    }

    /// Adds its weights with their names to `found`.
    pub fn list(&self, found: &mut Vec<(String, Tensor)>) {
        match self {
            AnyNorm::Gemma(norm) => norm.list(found),
            AnyNorm::Plain(norm) => norm.list(found),
            AnyNorm::Fp32(norm) => norm.list(found),
            AnyNorm::Layer(norm) => norm.list(found),
        }
    }
}

impl From<RmsNorm> for AnyNorm {
    fn from(norm: RmsNorm) -> AnyNorm {
        AnyNorm::Gemma(norm)
    }
}

impl From<PlainRmsNorm> for AnyNorm {
    fn from(norm: PlainRmsNorm) -> AnyNorm {
        AnyNorm::Plain(norm)
    }
}

impl From<Fp32RmsNorm> for AnyNorm {
    fn from(norm: Fp32RmsNorm) -> AnyNorm {
        AnyNorm::Fp32(norm)
    }
}

impl From<LayerNorm> for AnyNorm {
    fn from(norm: LayerNorm) -> AnyNorm {
        AnyNorm::Layer(norm)
    }
}
