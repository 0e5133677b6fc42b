//! Readers of normalization layers.

use super::Weights;
use crate::model::layers::{Fp32RmsNorm, LayerNorm, PlainRmsNorm, RmsNorm};

impl Weights {
    /// Reads Gemma's RMS norm: `path.weight` `[width]`.
    pub fn rms_norm(&mut self, path: &str, width: i64, eps: f64) -> RmsNorm {
        RmsNorm {
            path: path.to_string(),
            weight: self.tensor(&format!("{path}.weight"), &[width]),
            eps,
        }
    }

    /// Reads Llama's RMS norm: `path.weight` `[width]`.
    pub fn plain_rms_norm(&mut self, path: &str, width: i64, eps: f64) -> PlainRmsNorm {
        PlainRmsNorm {
            path: path.to_string(),
            weight: self.tensor(&format!("{path}.weight"), &[width]),
            eps,
        }
    }

    /// Reads OLMo 2's RMS norm: `path.weight` `[width]`.
    pub fn fp32_rms_norm(&mut self, path: &str, width: i64, eps: f64) -> Fp32RmsNorm {
        Fp32RmsNorm {
            path: path.to_string(),
            weight: self.tensor(&format!("{path}.weight"), &[width]),
            eps,
        }
    }

    /// Reads a layer norm: `path.weight` and `path.bias`, both `[width]`.
    pub fn layer_norm(&mut self, path: &str, width: i64, eps: f64) -> LayerNorm {
        LayerNorm {
            path: path.to_string(),
            weight: self.tensor(&format!("{path}.weight"), &[width]),
            bias: Some(self.tensor(&format!("{path}.bias"), &[width])),
            eps,
        }
    }

    /// Reads a layer norm without a shift: `path.weight` `[width]`.
    pub fn scaling_layer_norm(&mut self, path: &str, width: i64, eps: f64) -> LayerNorm {
        LayerNorm {
            path: path.to_string(),
            weight: self.tensor(&format!("{path}.weight"), &[width]),
            bias: None,
            eps,
        }
    }
}
