//! Options of `ewe train` and `ewe plan` for number formats and memory strategies.

use crate::finetune::{Formats, Master, OptimizerKind, Precision, Quantize};

/// Number formats and memory strategies, as they are typed.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Number formats and memory")]
pub struct FormatArgs {
    /// Data type to compute in [default: bf16; fp32 on processors without bf16 instructions]
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,

    /// What to store of a weight besides its bf16, with --method full; adapters are fp32
    /// [default: split]
    #[arg(long, value_enum)]
    pub master: Option<Master>,

    /// Optimizer [default: adamw]
    #[arg(long, value_enum)]
    pub optimizer: Option<OptimizerKind>,

    /// Keep only the input of each block and compute the rest again in the backward pass: a third
    /// more arithmetic, a fraction of the memory for activations
    #[arg(long)]
    pub recompute: bool,

    /// Update each block as soon as its gradients are complete, and drop these, so that no more
    /// than one block's gradients exist. Recomputes blocks, and with --clip computes everything
    /// twice, to know the norm first. For --method full
    #[arg(long)]
    pub update_in_backward: bool,

    /// Keep master weights and optimizer state in host memory and update the weights there, so that
    /// a GPU holds weights and gradients only (Ren et al. 2021). For --method full
    #[arg(long)]
    pub offload: bool,

    /// Store the linear layers of the base in this format under an adapter: a 6B model takes 4 GB.
    /// For --method lora
    #[arg(long, value_enum)]
    pub quantize: Option<Quantize>,

    /// Train magnitudes of weights apart from their directions (DoRA, Liu et al. 2024): closer to
    /// full fine-tuning at low ranks, and slower. For --method lora
    #[arg(long)]
    pub dora: bool,

    /// Layers that get an adapter, as `q_proj,v_proj` [default: every linear layer of the blocks]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub lora_targets: Vec<String>,
}

impl FormatArgs {
    /// Returns the formats of either method, with bf16 where no precision was given.
    pub fn resolve(&self) -> Formats {
        Formats {
            recompute: self.recompute,
            update_in_backward: self.update_in_backward,
            offload: self.offload,
            quantize: self.quantize,
            precision: self.precision.unwrap_or_default(),
            master: self.master.unwrap_or_default(),
            optimizer: self.optimizer.unwrap_or_default(),
        }
    }

    /// Returns whether any was given that takes less memory than another, so that none is chosen.
    pub fn are_given(&self) -> bool {
        let strategies = [self.recompute, self.update_in_backward, self.offload];
        let formats = [
            self.quantize.is_some(),
            self.master.is_some(),
            self.optimizer.is_some(),
        ];
        strategies.into_iter().chain(formats).any(|given| given)
    }
}
