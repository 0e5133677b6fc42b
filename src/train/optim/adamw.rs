//! AdamW (Loshchilov & Hutter 2017, <https://arxiv.org/abs/1711.05101>), as PyTorch computes it: decoupled decay,
//! bias-corrected moments, eps outside the root. Arithmetic is fp32 whatever the moments are kept in.
//!
//! Moments in 8 bits are block-wise as those of Dettmers et al. 2022 (<https://arxiv.org/abs/2110.02861>): 256 elements share a scale,
//! their largest, and each is a part of it. Where that paper looks a code up among 256 values, here it is a float of 8 bits, which takes
//! no table: the first moment has a sign, four bits of exponent and three of mantissa; of the second the root is kept, with four
//! and four. Codes are drawn, up or down: a second moment changes by a thousandth in a step, which rounding to the nearest would
//! never let through (tried, 2026-11-25: losses of tiny models went 3 to 7 % astray). None that is not zero becomes zero,
//! since updates are divided by it.

use super::fallback::Passes;
use super::optimizer::Change;
use crate::shim::optimizers::{self as kernels, AdamwStep, Weights};
use tch::{Device, Kind, Tensor};

const BETAS: (f64, f64) = (0.9, 0.999);
const EPS: f64 = 1e-8;

/// What AdamW remembers of one tensor of `n` elements, flat.
#[derive(Debug)]
pub enum AdamwState {
    /// In fp32, 8 bytes an element.
    Fp32 {
        /// Mean of the gradients, `[n]`.
        first: Tensor,
        /// Mean of their squares, `[n]`.
        second: Tensor,
    },
    /// In 8 bits, 2 bytes and 1/32 an element.
    Eight {
        /// Codes, Int8 `[n]`.
        first: Tensor,
        /// fp32, one for 256 elements.
        first_scale: Tensor,
        /// Codes, Uint8 `[n]`.
        second: Tensor,
        /// fp32, one for 256 elements.
        second_scale: Tensor,
    },
}

impl AdamwState {
    /// Zero, in fp32.
    pub fn fp32(count: i64, device: Device) -> AdamwState {
        let zeros = || Tensor::zeros([count], (Kind::Float, device));
        AdamwState::Fp32 {
            first: zeros(),
            second: zeros(),
        }
    }

    /// Zero, in 8 bits.
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

    /// Names, as in a checkpoint, and tensors.
    pub fn tensors(&self) -> Vec<(&'static str, &Tensor)> {
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

    /// As the kernels take them.
    pub fn as_kernels(&self) -> kernels::Moments<'_> {
        match self {
            AdamwState::Fp32 { first, second } => kernels::Moments::Fp32 { first, second },
            AdamwState::Eight {
                first,
                first_scale,
                second,
                second_scale,
            } => kernels::Moments::Eight {
                first,
                first_scale,
                second,
                second_scale,
            },
        }
    }

    /// One step of a tensor.
    pub fn update(&self, change: &Change, weights: Weights, gradient: &Tensor) {
        let bias = |beta: f64| 1.0 - beta.powf(change.step as f64);
        let step = AdamwStep {
            factor: change.factor as f32,
            decay: change.decay as f32,
            rate: (-change.rate / bias(BETAS.0)) as f32,
            first_share: (1.0 - BETAS.0) as f32,
            second_kept: BETAS.1 as f32,
            second_share: (1.0 - BETAS.1) as f32,
            second_bias: (1.0 / bias(BETAS.1).sqrt()) as f32,
            eps: EPS as f32,
            key: change.key,
        };
        (Passes::on(gradient.device()).adamw)(&step, weights, self.as_kernels(), gradient);
    }
}
