//! Backward passes by parts: from a gradient, to a leaf.

use crate::model::CausalLm;
use tch::{Kind, Tensor};

/// Runs the backward pass from `y` with this gradient: the derivative of `Σ y · gradient` by `y` is
/// `gradient` exactly, and `tch` has no backward that starts from a gradient.
pub fn seed_backward(y: &Tensor, gradient: &Tensor) {
    (y * gradient).sum(Kind::Float).backward();
}

/// Returns which of these tensors are weight and bias of the model's head.
pub fn find_head<'a>(
    model: &dyn CausalLm,
    leaves: impl Iterator<Item = &'a Tensor> + Clone,
) -> [Option<usize>; 2] {
    let (weight_vd, bias_v) = model.head();
    let find = |tensor: &Tensor| {
        leaves
            .clone()
            .position(|leaf| leaf.data_ptr() == tensor.data_ptr())
    };
    [find(&weight_vd), bias_v.as_ref().and_then(find)]
}

/// Detaches `x` and makes it a leaf that receives a gradient.
pub fn as_leaf(x: Tensor) -> Tensor {
    x.detach().set_requires_grad(true)
}
