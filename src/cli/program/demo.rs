//! `ewe demo`

use std::path::PathBuf;

use crate::cli::args::number;
use crate::program::demo::{self, DemoJob};

/// Arguments of `ewe demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each step is shown as the command that it is, and can be typed again.

Examples:
  ewe demo
  ewe demo --model HuggingFaceTB/SmolLM2-135M --target 10
  ewe demo --dir trial --model models/gemma-3-270m --target 0")]
pub struct Args {
    /// Folder of all output; what an earlier demo left in it is replaced
    #[arg(long, value_name = "DIR", default_value = "demo")]
    pub dir: PathBuf,

    /// Directory of a base model (config.json, weights, tokenizer), or its id on the Hugging Face
    /// hub [default: models/gemma-3-270m, which `make setup` fetches]
    #[arg(long, value_name = "DIR|HF_ID")]
    pub model: Option<PathBuf>,

    /// How many tasks the model writes; with 0 it is trained on the seed tasks alone
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u64).range(..=number::MOST))]
    pub target: u64,
}

/// Runs the demo. Returns the exit code of the first step that fails.
pub async fn run(args: &Args, quiet: bool) -> anyhow::Result<u8> {
    let job = DemoJob {
        dir: args.dir.clone(),
        model: args.model.clone(),
        target: args.target,
    };
    demo::run(&job, quiet).await
}
