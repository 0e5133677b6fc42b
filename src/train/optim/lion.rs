//! Lion (Chen et al. 2023, <https://arxiv.org/abs/2302.06675>, algorithm 2): each weight moves by
//! the learning rate, in the direction that the sign of an average of gradient and momentum gives.
//! Weight decay is decoupled, as AdamW's. The momentum is updated after its use, with a longer
//! memory.
//!
//! There is no kernel for it: updates are libtorch operations on every device.

use super::fallback::{self, LionStep};
use super::state::{OptimizerState, StepParams};
use crate::shim::optimizers::WeightTensors;
use tch::{Device, Kind, Tensor};

/// Shares of the momentum that the direction and the next momentum keep.
const BETAS: (f64, f64) = (0.9, 0.99);

/// Lion's state of one tensor of `n` elements, flat.
#[derive(Debug)]
pub struct LionState {
    /// Momentum, fp32 `[n]`.
    first: Tensor,
}

impl LionState {
    /// Returns a momentum of zeros.
    pub fn zeros(count: i64, device: Device) -> LionState {
        LionState {
            first: Tensor::zeros([count], (Kind::Float, device)),
        }
    }
}

impl OptimizerState for LionState {
    fn tensors(&self) -> Vec<(&'static str, &Tensor)> {
        vec![("first", &self.first)]
    }

    fn update(&self, params: &StepParams, weights: WeightTensors, gradient: &Tensor) {
        let step = LionStep {
            factor: params.factor as f32,
            decay: params.decay as f32,
            rate: -params.rate as f32,
            direction_share: (1.0 - BETAS.0) as f32,
            first_share: (1.0 - BETAS.1) as f32,
            key: params.key,
        };
        fallback::lion(&step, weights, &self.first, gradient);
    }
}
