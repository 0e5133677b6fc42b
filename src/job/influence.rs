//! What `ewe influence` does.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::Serialize;

use super::rows::RowsFile;

/// The direction in which a row would move the weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The row's gradient over the root of Adam's second moment.
    #[default]
    Adam,
    /// Adam's whole update, first moment included, as LESS computes it (Xia et al. 2024): what
    /// earlier rows have in common counts for every row.
    Less,
    /// The row's gradient, as TracIn computes it (Pruthi et al. 2020).
    Sgd,
}

/// The rows of a dataset, and the checkpoints at which their gradients are taken.
#[derive(Debug, Clone)]
pub struct InfluenceJob {
    /// The dataset.
    pub db: PathBuf,
    /// The folder of a training run.
    pub run_dir: PathBuf,
    /// Directory of the run's base model, or its id on the Hugging Face hub; none takes what the
    /// run recorded.
    pub model: Option<PathBuf>,
    /// Rows to take in place of the dataset's held-out tasks.
    pub eval: Option<RowsFile>,
    /// Checkpoints to take at most.
    pub checkpoints: usize,
    /// Numbers that a gradient is projected to; 0 projects none.
    pub dimensions: u32,
    /// How a row would move the weights.
    pub direction: Direction,
    /// Seed of the projection.
    pub seed: u64,
    /// `auto`, `cpu` or `cuda:N`.
    pub device: String,
}
