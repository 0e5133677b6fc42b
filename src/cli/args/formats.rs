//! What `ewe train` keeps of weights, moments and activations, and `ewe plan` plans with.

use crate::cli::models::train::{Master, OptimizerKind, Precision, Quantize};

/// What decides how much memory a fine-tune takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Formats {
    /// What is computed with [default: bf16, on a processor without it fp32]
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,

    /// What is kept of a weight besides its bf16, with --method full; an adapter is fp32
    #[arg(long, value_enum, default_value_t = Master::Split)]
    pub master: Master,

    /// The update rule
    #[arg(long, value_enum, default_value_t = OptimizerKind::Adamw)]
    pub optimizer: OptimizerKind,

    /// Keep only what goes into each block and compute the rest again when its gradients are due: a third more
    /// arithmetic, a fraction of the memory
    #[arg(long)]
    pub recompute: bool,

    /// Move each block's weights as soon as their gradients are there, and drop these: no more than one block's gradients exist.
    /// Computes blocks again, and with --clip everything twice, to know the norm first. For --method full
    #[arg(long)]
    pub update_in_backward: bool,

    /// Keep masters and moments in the machine's own memory and move the weights there, so that a GPU holds weights and gradients
    /// only (Ren et al. 2021). For --method full
    #[arg(long)]
    pub offload: bool,

    /// Keep the linear layers of the base in so many bits beside an adapter: a 6B model in 4 GB. For --method lora
    #[arg(long, value_enum)]
    pub quantize: Option<Quantize>,

    /// Learn the lengths of weights apart from their directions (DoRA, Liu et al. 2024): nearer to training every weight at low ranks,
    /// and slower. For --method lora
    #[arg(long)]
    pub dora: bool,

    /// Layers that get an adapter, as `q_proj,v_proj` [default: every linear layer of the blocks]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub lora_targets: Vec<String>,
}
