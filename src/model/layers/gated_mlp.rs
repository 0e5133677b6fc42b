//! The gated MLP of Llama and many others.

use tch::Tensor;

use super::activation::Activation;
use super::linear::Linear;

/// `down(activation(gate(x)) · up(x))`.
#[derive(Debug)]
pub struct GatedMlp {
    /// To the features that the activation is applied to.
    pub gate_proj: Linear,
    /// To the features that it is multiplied with.
    pub up_proj: Linear,
    /// Back to the hidden size.
    pub down_proj: Linear,
    /// The activation.
    pub act: Activation,
}

impl GatedMlp {
    /// Maps `[…, d]` to `[…, d]`.
    pub fn forward(&self, x_d: &Tensor) -> Tensor {
        self.down_proj.forward(
            &self
                .act
                .gate(&self.gate_proj.forward(x_d), &self.up_proj.forward(x_d)),
        )
    }

    /// Returns its layers, in the order in which training visits them.
    pub fn linears(&self) -> [&Linear; 3] {
        [&self.gate_proj, &self.up_proj, &self.down_proj]
    }

    /// As [`GatedMlp::linears`], to change them.
    pub fn linears_mut(&mut self) -> [&mut Linear; 3] {
        [&mut self.gate_proj, &mut self.up_proj, &mut self.down_proj]
    }
}
