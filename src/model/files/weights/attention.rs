//! Readers of the layers that attention begins with.

use super::Weights;
use crate::model::layers::QkvProjection;

impl Weights {
    /// Reads the projections of `width` features to those of all queries and of all keys:
    /// `path.q_proj`, `path.k_proj` and `path.v_proj`.
    pub fn qkv_projection(
        &mut self,
        path: &str,
        width: i64,
        [queries, keys]: [i64; 2],
        bias: bool,
    ) -> QkvProjection {
        QkvProjection::of(
            [("q_proj", queries), ("k_proj", keys), ("v_proj", keys)]
                .map(|(name, outputs)| self.linear(&format!("{path}.{name}"), width, outputs, bias)),
        )
    }
}
