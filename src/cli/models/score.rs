//! `ewe score`

use std::path::PathBuf;

use super::complete::ModelArgs;
use crate::cli::args::reading::ReadingArgs;
use crate::prompt::template::TemplateChoice;

/// Arguments of `ewe score`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model
    #[command(flatten)]
    pub model: ModelArgs,

    /// Rows are messages, as `ewe train` lays them out, a system message and an input among them: what is scored is what it would
    /// learn, the end of the answer too
    #[arg(long)]
    pub chat: bool,

    /// With --chat, how messages become a prompt: as in `ewe chat`
    #[arg(long, value_name = "NAME|FILE", requires = "chat")]
    pub template: Option<TemplateChoice>,

    /// Rows in any format that `ewe import` reads: what is asked comes before, the answer is scored. prompt, completion are taken as
    /// they are
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,

    /// How the file is read
    #[command(flatten)]
    pub reading: ReadingArgs,

    /// Where the rows {row, tokens, nll} go, `-` being standard output; nll is in nats, summed over the completion's tokens
    #[arg(long, value_name = "FILE.jsonl")]
    pub out: PathBuf,
}
