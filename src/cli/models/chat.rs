//! `ewe chat`

use super::complete::{ModelArgs, SamplingArgs, TemplateArgs};
use crate::job::chat::ChatJob;

/// Arguments of `ewe chat`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model
    #[command(flatten)]
    pub model: ModelArgs,

    /// How messages become a prompt
    #[command(flatten)]
    pub template: TemplateArgs,

    /// How tokens are chosen
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

impl Args {
    /// Returns what the command does.
    pub fn job(&self) -> ChatJob {
        ChatJob {
            model: self.model.spec(),
            template: self.template.template.clone(),
            sampling: self.sampling.sampling(),
        }
    }
}
