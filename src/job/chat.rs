//! What `ewe chat` does.

use super::model::ModelSpec;
use crate::backend::Sampling;
use crate::prompt::template::TemplateChoice;

/// A conversation on the terminal.
#[derive(Debug, Clone)]
pub struct ChatJob {
    /// The model that answers.
    pub model: ModelSpec,
    /// The chat template, unless it is the one that came with the model.
    pub template: Option<TemplateChoice>,
    /// How tokens are chosen.
    pub sampling: Sampling,
}
