//! `ewe chat`

use super::complete::{FormArgs, ModelArgs, SamplingArgs};

/// Arguments of `ewe chat`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model
    #[command(flatten)]
    pub model: ModelArgs,

    /// In which form it is asked
    #[command(flatten)]
    pub form: FormArgs,

    /// How it answers
    #[command(flatten)]
    pub sampling: SamplingArgs,
}
