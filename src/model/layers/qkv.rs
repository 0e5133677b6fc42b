//! The projections that attention begins with.

use tch::Tensor;

use super::joint::{JointWeights, forward_all};
use super::linear::Linear;

/// Three layers of one input: queries, keys and values.
#[derive(Debug)]
pub struct QkvProjection {
    /// To the queries of all heads.
    pub q_proj: Linear,
    /// To the keys of all key/value heads.
    pub k_proj: Linear,
    /// To their values.
    pub v_proj: Linear,
    /// The three, if one product computes them.
    joint: Option<JointWeights>,
}

impl QkvProjection {
    /// Makes it of three layers.
    pub fn of([q_proj, k_proj, v_proj]: [Linear; 3]) -> QkvProjection {
        QkvProjection {
            q_proj,
            k_proj,
            v_proj,
            joint: None,
        }
    }

    /// Maps `x_btd` to the features of all queries, of all keys and of all values, which may be
    /// views of one tensor.
    pub fn forward(&self, x_btd: &Tensor) -> [Tensor; 3] {
        forward_all(self.joint.as_ref(), self.linears(), x_btd)
    }

    /// As [`QkvProjection::forward`], divided into heads: `q_bthd`, `k_btkd` and `v_btkd`.
    pub fn heads(&self, x_btd: &Tensor, head_dim: i64) -> [Tensor; 3] {
        let size = x_btd.size();
        self.forward(x_btd)
            .map(|x| x.view([size[0], size[1], -1, head_dim]))
    }

    /// Has one product compute all three, if they [fit together](JointWeights::of).
    pub fn join(&mut self) {
        self.joint = JointWeights::of(&mut self.linears_mut());
    }

    /// Returns the layers, in the order in which training visits them.
    pub fn linears(&self) -> [&Linear; 3] {
        [&self.q_proj, &self.k_proj, &self.v_proj]
    }

    /// As [`QkvProjection::linears`], to change them.
    pub fn linears_mut(&mut self) -> [&mut Linear; 3] {
        [&mut self.q_proj, &mut self.k_proj, &mut self.v_proj]
    }
}
