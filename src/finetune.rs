//! A fine-tune as plain data: its method, number formats and memory strategies. The command line,
//! the memory estimate and the trainer share these types. This file imports nothing of ours.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Share of the tasks that is held out where nothing says otherwise.
pub const EVAL_FRACTION: f64 = 0.05;

/// Which weights are trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Every weight.
    Full,
    /// A low-rank adapter on every linear layer except the output head.
    Lora,
}

/// Which answers of a conversation the loss is computed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerLoss {
    /// Every answer, after all messages before it.
    #[default]
    All,
    /// The last answer only.
    Last,
}

/// How the learning rate decays after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    /// Along half a cosine, to zero.
    Cosine,
    /// Along a straight line, to zero.
    Linear,
    /// Not at all.
    Constant,
}

/// Data type that the model computes in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// bfloat16.
    #[default]
    Bf16,
    /// Single precision.
    Fp32,
}

/// Storage format of a frozen base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quantize {
    /// 4-bit NormalFloat: 16 levels spaced for a normal distribution, with a scale for each 64
    /// weights (QLoRA, Dettmers et al. 2023).
    Nf4,
}

/// Algorithm that updates the weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// AdamW (Loshchilov & Hutter 2017; betas 0.9 and 0.999, eps 1e-8) with moments in fp32:
    /// 8 bytes per weight.
    #[default]
    Adamw,
    /// Lion (Chen et al. 2023; betas 0.9 and 0.99) with its momentum in fp32: 4 bytes per weight.
    /// It takes a third to a tenth of AdamW's learning rate.
    Lion,
    /// AdamW with moments in 8 bits and a scale for each 256 of them: 2 bytes per weight.
    Adamw8bit,
    /// Adafactor (Shazeer & Stern 2018) without a first moment: means of rows and columns only,
    /// next to nothing per weight.
    Adafactor,
}

/// What is stored of a trained weight besides the bf16 that the model computes with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Master {
    /// The lower 16 bits of the fp32 weight whose upper half is the bf16 weight: 2 bytes.
    #[default]
    Split,
    /// The fp32 weight: 4 bytes, and the same weights to the last bit.
    Fp32,
    /// Nothing; updates are rounded stochastically, so that they are right on average: 0 bytes.
    Stochastic,
    /// Nothing, and updates are rounded to nearest: refused.
    #[value(hide = true)]
    Bf16,
}

/// Order in which the rows are trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowOrder {
    /// A new permutation each epoch, a function of seed and epoch.
    Shuffled,
    /// As they are stored.
    Sequential,
}

/// Number formats and memory strategies of a fine-tune, resolved.
///
/// The order of the fields is their order in `run.json` and in `state.json` of a checkpoint, where
/// they lie among the other settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Formats {
    /// Whether a block's activations are dropped and computed again in the backward pass.
    #[serde(default)]
    pub recompute: bool,
    /// Whether each block is updated as soon as its gradients are complete.
    #[serde(default)]
    pub update_in_backward: bool,
    /// Whether master weights and optimizer state are kept in host memory.
    #[serde(default)]
    pub offload: bool,
    /// Storage format of the base's linear layers; none stores them in `precision`.
    #[serde(default)]
    pub quantize: Option<Quantize>,
    /// Data type that the model computes in.
    pub precision: Precision,
    /// What is stored of a weight besides its bf16.
    pub master: Master,
    /// The optimizer.
    pub optimizer: OptimizerKind,
}

impl Formats {
    /// Returns the formats without those that `method` has no use for: updates in backward and
    /// offloading are for full fine-tuning, quantization is for a frozen base. Updates in backward
    /// recompute blocks.
    pub fn of_method(self, method: Method) -> Formats {
        let full = method == Method::Full;
        let update_in_backward = self.update_in_backward && full;
        Formats {
            recompute: self.recompute || update_in_backward,
            update_in_backward,
            offload: self.offload && full,
            quantize: self.quantize.filter(|_| !full),
            ..self
        }
    }
}

/// Rank of an adapter unless given.
pub const LORA_RANK: u32 = 16;

/// Alpha of an adapter unless given: twice the rank, a scale of 2. Alpaca-LoRA made it common, and
/// the default learning rate is chosen for it.
pub fn default_alpha(rank: u32) -> f64 {
    2.0 * f64::from(rank)
}

/// Hyperparameters of an adapter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LoraSettings {
    /// Inner dimension.
    pub rank: u32,
    /// The adapter's output is scaled by `alpha / rank`.
    pub alpha: f64,
    /// Probability of dropping an input while training.
    pub dropout: f64,
    /// Scales by `alpha / √rank` instead, so that high ranks learn as fast as low ones
    /// (Kalajdzievski 2023, <https://arxiv.org/abs/2312.03732>).
    pub rank_stabilized: bool,
    /// Trains the magnitudes of weights apart from their directions (DoRA).
    #[serde(default)]
    pub dora: bool,
    /// Layers that get an adapter, by the last part of their names; empty for every linear layer of
    /// the blocks.
    pub targets: Vec<String>,
    /// Digest of the adapter that the run continues, none for a new one.
    pub from: Option<String>,
}

impl LoraSettings {
    /// Returns the factor of the adapter's output.
    pub fn scale(&self) -> f64 {
        let rank = f64::from(self.rank);
        self.alpha / if self.rank_stabilized { rank.sqrt() } else { rank }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_of_an_older_version_are_read() {
        let old = r#"{"precision":"bf16","master":"split","optimizer":"adamw"}"#;
        let formats: Formats = serde_json::from_str(old).unwrap();
        assert_eq!(formats, Formats::default());
    }

    #[test]
    fn a_method_has_its_own_formats() {
        let all = Formats {
            update_in_backward: true,
            offload: true,
            quantize: Some(Quantize::Nf4),
            ..Formats::default()
        };
        let full = all.of_method(Method::Full);
        assert!(full.recompute && full.update_in_backward && full.offload && full.quantize.is_none());
        let lora = all.of_method(Method::Lora);
        assert!(!(lora.recompute || lora.update_in_backward || lora.offload));
        assert_eq!(lora.quantize, Some(Quantize::Nf4));
    }
}
