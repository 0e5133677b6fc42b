//! `ewe plan`

use crate::cli::args::formats::FormatArgs;
use crate::cli::args::number;
use crate::cli::args::ranks;
use crate::cli::args::size;
use crate::finetune::{LORA_RANK, LoraSettings, Method};
use crate::job::plan::{GpuChoice, Link, PlanJob, PlanServeJob};
use crate::job::train::Shard;
use std::path::PathBuf;

/// Arguments of `ewe plan`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Directory of a model, its config.json alone, a GGUF file, or an id on the Hugging Face hub
    #[arg(long, value_name = "DIR|config.json|HF_ID")]
    pub model: PathBuf,

    /// Only this method [default: both]
    #[arg(long, value_enum)]
    pub method: Option<Method>,

    /// Rank of the adapter
    #[arg(long, value_name = "R", default_value_t = LORA_RANK, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub lora_rank: u32,

    /// Tokens per micro-batch, the part of a step that passes through the model at once
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..=131_072))]
    pub micro_tokens: u32,

    /// How many of these are targets of the loss [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=131_072))]
    pub target_tokens: Option<u32>,

    /// Assume several micro-batches per step, whose gradients are summed in fp32
    #[arg(long)]
    pub cut: bool,

    /// Tokens of a step, all its micro-batches together, which decide how often weights are updated
    /// [default: one micro-batch, or two with --cut]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000_000))]
    pub step_tokens: Option<u32>,

    /// Tokens of the whole run, to estimate its time
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = number::some)]
    pub tokens: u64,

    /// Share of a GPU's peak that forward and backward passes reach, in percent [default: an
    /// estimate that grows with the tokens of a micro-batch]
    #[arg(long, value_name = "PERCENT", value_parser = number::percent)]
    pub utilisation: Option<f64>,

    /// Memory to fit into, in gigabytes of 10^9 bytes: 80GB; exit code 1 if nothing fits
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub memory: Option<u64>,

    /// GPUs of each machine that train together; says what they exchange in a step
    #[arg(long, help_heading = "Several processes", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub gpus: u32,

    /// Machines that train together, each with --gpus
    #[arg(long, help_heading = "Several processes", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub nodes: u32,

    /// Divide parameters, gradients and optimizer state of a full fine-tune among this many GPUs,
    /// or `all`, as `ewe train --shard` does
    #[arg(long, help_heading = "Several processes", value_name = "N|all", value_parser = ranks::shard)]
    pub shard: Option<Shard>,

    /// The slowest connection from one GPU to the next [default: nvlink, with --nodes ib400]
    #[arg(long, help_heading = "Several processes", value_enum)]
    pub link: Option<Link>,

    /// Plan `ewe serve` instead of a fine-tune: how many sequences of which length fit
    #[arg(long)]
    pub serve: bool,

    /// With --serve, the GPU: its memory, like 24GB, or words of its name, like H100 [default: 24,
    /// 48, 80 and 141 GB, and the CPU]
    #[arg(long, value_name = "SIZE|NAME", value_parser = gpu)]
    pub gpu: Option<GpuChoice>,

    /// With --serve, memory for the KV cache, as in `ewe serve`: on --gpu, else on the CPU
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub kv_memory: Option<u64>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// Number formats and memory strategies.
    #[command(flatten)]
    pub formats: FormatArgs,
}

/// Reads the memory or the name of a GPU. A number without unit is part of a name: 4090.
fn gpu(text: &str) -> Result<GpuChoice, String> {
    let is_size = text.trim().ends_with(|last: char| last.is_ascii_alphabetic());
    match size::parse(text) {
        Ok(bytes) if is_size => Ok(GpuChoice::Memory(bytes)),
        _ if text.chars().any(char::is_alphanumeric) => Ok(GpuChoice::Name(text.trim().to_owned())),
        _ => Err("want memory, like 24GB, or a name, like H100".to_owned()),
    }
}

impl Args {
    /// Returns what the command does with --serve; none without.
    pub fn serve_job(&self) -> Option<PlanServeJob> {
        self.serve.then(|| PlanServeJob {
            model: self.model.clone(),
            precision: self.formats.resolve().precision,
            gpu: self.gpu.clone(),
            kv_bytes: self.kv_memory,
            json: self.json,
        })
    }

    /// Returns what the command does without --serve.
    pub fn job(&self) -> PlanJob {
        PlanJob {
            model: self.model.clone(),
            method: self.method,
            lora: LoraSettings {
                rank: self.lora_rank,
                dora: self.formats.dora,
                targets: self.formats.lora_targets.clone(),
                ..LoraSettings::default()
            },
            formats: self.formats.resolve(),
            precision: self.formats.precision,
            formats_are_given: self.formats.are_given(),
            micro_tokens: self.micro_tokens.into(),
            target_tokens: self.target_tokens.map(u64::from),
            cut: self.cut,
            step_tokens: self.step_tokens.map(u64::from),
            tokens: self.tokens,
            utilisation: self.utilisation,
            memory: self.memory,
            gpus: self.gpus.into(),
            nodes: self.nodes.into(),
            shard: self.shard,
            link: self.link,
            json: self.json,
        }
    }
}
