//! `ewe plan`

use super::train::Method;
use crate::cli::args::formats::Formats;
use crate::cli::args::number;
use crate::cli::args::size;
use std::path::PathBuf;

/// Arguments of `ewe plan`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Directory of a model, its config.json alone, or its id on the Hugging Face hub
    #[arg(long, value_name = "DIR|config.json|HF_ID")]
    pub model: PathBuf,

    /// Only this method [default: both]
    #[arg(long, value_enum)]
    pub method: Option<Method>,

    /// Rank of the adapter
    #[arg(long, value_name = "R", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub lora_rank: u32,

    /// Tokens that go through the model at once
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..=131_072))]
    pub micro_tokens: u32,

    /// How many of these the loss falls on [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=131_072))]
    pub target_tokens: Option<u32>,

    /// What is kept
    #[command(flatten)]
    pub formats: Formats,

    /// A step is cut into several pieces, whose gradients are summed in fp32
    #[arg(long)]
    pub cut: bool,

    /// Tokens of the run, for its time
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = number::some)]
    pub tokens: u64,

    /// Share of a GPU's peak that the run reaches, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 33.0, value_parser = number::percent)]
    pub utilisation: f64,

    /// Memory to fit into, in gigabytes of 10^9 bytes: 80GB; exit code 1 where nothing fits
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub memory: Option<u64>,

    /// JSON on stdout
    #[arg(long)]
    pub json: bool,
}

impl Args {
    /// Fails on numbers that cannot be together.
    ///
    /// # Errors
    ///
    /// Names both options.
    pub fn check(&self) -> anyhow::Result<()> {
        match self.target_tokens {
            Some(targets) if targets > self.micro_tokens => anyhow::bail!(
                "--target-tokens {targets} is more than --micro-tokens {}, of which they are a part\nhint: a larger --micro-tokens",
                self.micro_tokens
            ),
            _ => Ok(()),
        }
    }
}
