//! AdamW (Loshchilov & Hutter 2017, <https://arxiv.org/abs/1711.05101>), as PyTorch computes it:
//! decoupled weight decay, bias-corrected moments, eps outside the root. Arithmetic is fp32 for all
//! storage formats of the moments.
//!
//! 8-bit moments are block-wise as in Dettmers et al. 2022 (<https://arxiv.org/abs/2110.02861>):
//! 256 elements share a scale, their largest value, and each element is a fraction of it. That
//! paper looks codes up among 256 values. Here a code is an 8-bit float, which needs no table: the
//! first moment has a sign, four exponent bits and three mantissa bits; of the second moment the
//! root is stored, with four and four. Codes are rounded stochastically: a second moment changes by
//! a thousandth per step, which rounding to nearest would never let through (tried, 2026-11-25:
//! losses of tiny models went 3 to 7 % astray). No nonzero second moment becomes zero, since
//! updates are divided by its root.

use super::fallback::Passes;
use super::state::{OptimizerState, StepParams};
use crate::shim::gpu::{AdamwUpdate, FusedUpdate};
use crate::shim::optimizers::{self as kernels, AdamwStep, WeightTensors};
use tch::{Device, Kind, Tensor};

/// Decay of the first and of the second moment.
pub const BETAS: (f64, f64) = (0.9, 0.999);
/// Added to the root of the second moment.
pub const EPS: f64 = 1e-8;

/// AdamW's state of one tensor of `n` elements, flat.
#[derive(Debug)]
pub enum AdamwState {
    /// fp32 moments, 8 bytes per element.
    Fp32 {
        /// First moment, `[n]`.
        first: Tensor,
        /// Second moment, `[n]`.
        second: Tensor,
    },
    /// 8-bit moments, 2 1/32 bytes per element.
    Eight {
        /// Codes of the first moment, Int8 `[n]`.
        first: Tensor,
        /// Scales of the first moment, fp32, one per 256 elements.
        first_scale: Tensor,
        /// Codes of the second moment's root, Uint8 `[n]`.
        second: Tensor,
        /// Scales of the second moment's root, fp32, one per 256 elements.
        second_scale: Tensor,
    },
}

impl AdamwState {
    /// Returns zero moments in fp32.
    pub fn fp32(count: i64, device: Device) -> AdamwState {
        let zeros = || Tensor::zeros([count], (Kind::Float, device));
        AdamwState::Fp32 {
            first: zeros(),
            second: zeros(),
        }
    }

    /// Returns zero moments in 8 bits.
    pub fn eight(count: i64, device: Device) -> AdamwState {
        let zeros = |count, kind| Tensor::zeros([count], (kind, device));
        let blocks = kernels::blocks(count);
        AdamwState::Eight {
            first: zeros(count, Kind::Int8),
            first_scale: zeros(blocks, Kind::Float),
            second: zeros(count, Kind::Uint8),
            second_scale: zeros(blocks, Kind::Float),
        }
    }

    /// Returns the moments as the kernels take them.
    pub fn as_kernels(&self) -> kernels::MomentTensors<'_> {
        match self {
            AdamwState::Fp32 { first, second } => kernels::MomentTensors::Fp32 { first, second },
            AdamwState::Eight {
                first,
                first_scale,
                second,
                second_scale,
            } => kernels::MomentTensors::Eight {
                first,
                first_scale,
                second,
                second_scale,
            },
        }
    }
}

impl OptimizerState for AdamwState {
    fn tensors(&self) -> Vec<(&'static str, &Tensor)> {
        match self {
            AdamwState::Fp32 { first, second } => vec![("first", first), ("second", second)],
            AdamwState::Eight {
                first,
                first_scale,
                second,
                second_scale,
            } => vec![
                ("first", first),
                ("first_scale", first_scale),
                ("second", second),
                ("second_scale", second_scale),
            ],
        }
    }

    fn update(&self, params: &StepParams, weights: WeightTensors, gradient: &Tensor) {
        (Passes::on(gradient.device()).adamw)(&step_of(params), weights, self.as_kernels(), gradient);
    }

    fn fused<'a>(
        &'a self,
        params: &StepParams,
        weights: WeightTensors<'a>,
        gradient: Tensor,
    ) -> Option<FusedUpdate<'a>> {
        Some(FusedUpdate::Adamw(AdamwUpdate {
            step: step_of(params),
            weights,
            moments: self.as_kernels(),
            gradient,
        }))
    }
}

/// Returns the factors of a step, bias correction included.
fn step_of(params: &StepParams) -> AdamwStep {
    let bias = |beta: f64| 1.0 - beta.powf(params.step as f64);
    AdamwStep {
        factor: params.factor as f32,
        decay: params.decay as f32,
        rate: (-params.rate / bias(BETAS.0)) as f32,
        first_share: (1.0 - BETAS.0) as f32,
        second_kept: BETAS.1 as f32,
        second_share: (1.0 - BETAS.1) as f32,
        second_bias: (1.0 / bias(BETAS.1).sqrt()) as f32,
        eps: EPS as f32,
        key: params.key,
    }
}
