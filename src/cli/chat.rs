//! `ewe chat`

use super::complete::{ModelArgs, SamplingArgs};

/// Arguments of `ewe chat`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model
    #[command(flatten)]
    pub model: ModelArgs,

    /// How it answers
    #[command(flatten)]
    pub sampling: SamplingArgs,
}
