//! Readers of MLPs and of mixtures of experts.

use super::Weights;
use crate::model::layers::activation::Activation;
use crate::model::layers::{Experts, ExpertsConfig, GatedMlp, Linear};

impl Weights {
    /// Reads a gated MLP of `inner` features: `path.gate_proj`, `path.up_proj`, `path.down_proj`.
    pub fn gated_mlp(
        &mut self,
        path: &str,
        [width, inner]: [i64; 2],
        bias: bool,
        act: Activation,
    ) -> GatedMlp {
        let layers = [
            ("gate_proj", width, inner),
            ("up_proj", width, inner),
            ("down_proj", inner, width),
        ];
        let layers = layers
            .map(|(name, inputs, outputs)| self.linear(&format!("{path}.{name}"), inputs, outputs, bias));
        GatedMlp::of(layers, act)
    }

    /// Reads a mixture of experts: `path.gate.weight` `[experts, width]`, which keeps its type, and
    /// a gated MLP `path.experts.N` for each expert.
    pub fn experts(&mut self, path: &str, width: i64, config: ExpertsConfig, act: Activation) -> Experts {
        let router = format!("{path}.gate");
        let weight = self.tensor(&format!("{router}.weight"), &[config.count, width]);
        let mut expert = |number: i64| {
            let path = format!("{path}.experts.{number}");
            self.gated_mlp(&path, [width, config.inner], false, act)
        };
        let experts = (0..config.count).map(&mut expert).collect();
        Experts::of(Linear::of(&router, weight, None), experts, config)
    }
}
