//! The state that an optimizer keeps for one parameter, and the update that uses it.

use crate::shim::gpu::FusedUpdate;
use crate::shim::optimizers::WeightTensors;
use std::fmt::Debug;
use tch::Tensor;

/// Numbers of one update of one parameter.
#[derive(Debug, Clone, Copy)]
pub struct StepParams {
    /// Learning rate.
    pub rate: f64,
    /// Factor of the gradient, applied first: the clipping.
    pub factor: f64,
    /// Factor of the weights, applied first: 1 − learning rate · weight decay.
    pub decay: f64,
    /// Updates of this parameter so far, this one included.
    pub step: u64,
    /// Key of the random bits that stochastic rounding draws.
    pub key: [u32; 2],
}

/// What an optimizer keeps for one parameter.
pub trait OptimizerState: Debug + Send {
    /// Returns the tensors of the state with their names in a checkpoint.
    fn tensors(&self) -> Vec<(&'static str, &Tensor)>;

    /// Updates `weights` and the state by one step along `gradient`.
    fn update(&self, params: &StepParams, weights: WeightTensors, gradient: &Tensor);

    /// Returns the same step as the GPU's kernels take it, all parameters in a few launches; none
    /// without a kernel.
    fn fused<'a>(
        &'a self,
        _params: &StepParams,
        _weights: WeightTensors<'a>,
        _gradient: Tensor,
    ) -> Option<FusedUpdate<'a>> {
        None
    }
}

/// Sizes of all trained tensors together, from which an optimizer computes the bytes of its state.
pub struct TrainedSizes<'a> {
    /// Numbers of all tensors.
    pub numbers: u64,
    /// Rows plus columns of all tensors; a vector is a matrix of one row.
    pub rows_and_columns: u64,
    /// Returns the bytes of all tensors at the given bytes per number, as the allocator rounds
    /// them.
    pub bytes: &'a dyn Fn(u64) -> u64,
}
