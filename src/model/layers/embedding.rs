//! The input embedding.

use tch::Tensor;

use super::linear::Linear;

/// A table with one row for each token.
#[derive(Debug)]
pub struct Embedding {
    /// Path in the checkpoint, without `.weight`.
    pub path: String,
    /// `[vocab, d]`.
    pub weight: Tensor,
}

impl Embedding {
    /// Maps `tokens_bt` (int64) to `x_btd`.
    pub fn forward(&self, tokens_bt: &Tensor) -> Tensor {
        Tensor::embedding(&self.weight, tokens_bt, -1, false, false)
    }

    /// Returns the embedding as an output head that shares its memory. When the head is
    /// [packed](Linear::pack), the rows stay here for looking tokens up.
    pub fn as_head(&self) -> Linear {
        Linear::of(&self.path, self.weight.shallow_clone(), None)
    }

    /// Adds the weight with its name to `found`.
    pub fn list(&self, found: &mut Vec<(String, Tensor)>) {
        found.push((format!("{}.weight", self.path), self.weight.shallow_clone()));
    }
}
