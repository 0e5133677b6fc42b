//! `ewe score`

use std::path::PathBuf;

use super::complete::ModelArgs;

/// Arguments of `ewe score`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model
    #[command(flatten)]
    pub model: ModelArgs,

    /// JSON lines with a "prompt" and a "completion" each
    #[arg(long, value_name = "FILE.jsonl")]
    pub data: PathBuf,

    /// Where the rows {row, tokens, nll} go; nll is in nats, summed over the completion's tokens
    #[arg(long, value_name = "FILE.jsonl")]
    pub out: PathBuf,
}
