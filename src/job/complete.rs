//! What `ewe complete` does.

use std::path::PathBuf;

use super::model::{EngineLimits, ModelSpec};
use super::rows::{PromptFormat, RowsFile};
use crate::backend::Sampling;

/// Prompts to answer, and how.
#[derive(Debug, Clone)]
pub struct CompleteJob {
    /// The model that answers.
    pub model: ModelSpec,
    /// The limits of its engine.
    pub limits: EngineLimits,
    /// The prompts.
    pub prompts: Prompts,
    /// How they are put to the model.
    pub format: PromptFormat,
    /// How tokens are chosen. Row N of a file uses seed + N.
    pub sampling: Sampling,
    /// Whether the result is printed as JSON: the answer, or how many there are in the file.
    pub json: bool,
}

/// Where prompts come from and answers go to.
#[derive(Debug, Clone)]
pub enum Prompts {
    /// One prompt, whose answer is streamed to standard output.
    One(String),
    /// A file of them.
    File {
        /// The prompts.
        rows: RowsFile,
        /// Receives a JSON line for each.
        out: PathBuf,
    },
}
