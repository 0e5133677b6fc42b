//! What `ewe score` does.

use std::path::PathBuf;

use super::model::ModelSpec;
use super::rows::{PromptFormat, RowsFile};

/// Completions to score.
#[derive(Debug, Clone)]
pub struct ScoreJob {
    /// The model that scores.
    pub model: ModelSpec,
    /// How a row becomes tokens.
    pub format: PromptFormat,
    /// What is scored.
    pub rows: ScoredRows,
}

/// Where prompts with their completions come from, and where scores go to.
#[derive(Debug, Clone)]
pub enum ScoredRows {
    /// A file of them.
    File {
        /// The file.
        rows: RowsFile,
        /// Receives a JSON line for each row.
        out: PathBuf,
    },
    /// A dataset, each answer with and without its instruction. The scores are stored in it.
    Dataset {
        /// The dataset.
        db: PathBuf,
        /// Receives a JSON line for each row, too.
        out: Option<PathBuf>,
    },
}
