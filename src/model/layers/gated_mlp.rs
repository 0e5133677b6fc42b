//! The gated MLP of Llama and many others.

use tch::Tensor;

use super::activation::Activation;
use super::joint::{JointWeights, forward_all};
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
    /// Gate and up, if one product computes them.
    joint: Option<JointWeights>,
}

impl GatedMlp {
    /// Makes an MLP of its layers gate, up and down.
    pub fn of([gate_proj, up_proj, down_proj]: [Linear; 3], act: Activation) -> GatedMlp {
        GatedMlp {
            gate_proj,
            up_proj,
            down_proj,
            act,
            joint: None,
        }
    }

    /// Maps `[…, d]` to `[…, d]`.
    pub fn forward(&self, x_d: &Tensor) -> Tensor {
        let [gate, up] = forward_all(self.joint.as_ref(), [&self.gate_proj, &self.up_proj], x_d);
        self.down_proj.forward(&self.act.gate(&gate, &up))
    }

    /// Has one product compute gate and up, if they [fit together](JointWeights::of).
    pub fn join(&mut self) {
        self.joint = JointWeights::of(&mut [&mut self.gate_proj, &mut self.up_proj]);
    }

    /// Has the product with `joint` compute gate and up, whose weights it has one behind the other.
    pub(super) fn join_by(&mut self, joint: JointWeights) {
        self.joint = Some(joint);
    }

    /// Returns its layers, in the order in which training visits them.
    pub fn linears(&self) -> [&Linear; 3] {
        [&self.gate_proj, &self.up_proj, &self.down_proj]
    }

    /// As [`GatedMlp::linears`], to change them.
    pub fn linears_mut(&mut self) -> [&mut Linear; 3] {
        [&mut self.gate_proj, &mut self.up_proj, &mut self.down_proj]
    }

    /// Adds the weights with their names to `found`.
    pub fn list(&self, found: &mut Vec<(String, Tensor)>) {
        for linear in self.linears() {
            linear.list(found);
        }
    }
}
