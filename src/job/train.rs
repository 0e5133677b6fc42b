//! What `ewe train` does, before its settings are resolved.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::rows::RowsFile;
use crate::finetune::{AnswerLoss, Formats, LoraSettings, Method, Precision, RowOrder, ScheduleKind};
use crate::prompt::template::TemplateChoice;
use crate::reasoning::ReasoningChoice;
use crate::settings::written::RunOptions;
use crate::store::Filter;

/// Where the rows come from.
#[derive(Debug, Clone)]
pub enum RowSource {
    /// A dataset: its rows except those of rejected and of held-out tasks.
    Dataset {
        /// The dataset.
        path: PathBuf,
        /// The tasks to take.
        filter: Box<Filter>,
    },
    /// Files, at least one, read one after another.
    Files(Vec<RowsFile>),
}

impl RowSource {
    /// Returns the paths of the dataset or the files.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            RowSource::Dataset { path, .. } => vec![path],
            RowSource::Files(files) => files.iter().map(|file| file.path.as_path()).collect(),
        }
    }

    /// Returns the option that names them.
    pub fn option(&self) -> &'static str {
        match self {
            RowSource::Dataset { .. } => "--db",
            RowSource::Files(_) => "--data",
        }
    }

    /// Returns which tasks are taken, as a run records it; null if all are.
    pub fn selection(&self) -> serde_json::Value {
        match self {
            RowSource::Dataset { filter, .. } if !filter.is_empty() => {
                let mut filter = serde_json::to_value(filter).unwrap_or_default();
                if let Some(fields) = filter.as_object_mut() {
                    fields.retain(|_, value| !value.is_null());
                }
                filter
            }
            _ => serde_json::Value::Null,
        }
    }
}

/// How many processes train together on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RanksJob {
    /// Their number; none for this one alone, or those that another program started.
    pub count: Option<usize>,
    /// How long one waits for another.
    pub timeout: Duration,
    /// How often they are started again after a failure.
    pub restarts: u32,
    /// Among how many of them parameters, gradients and optimizer state are divided.
    pub shard: Option<Shard>,
}

/// Among how many ranks a model is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shard {
    /// All of them.
    All,
    /// This many.
    Ranks(usize),
}

impl Default for RanksJob {
    fn default() -> RanksJob {
        RanksJob {
            count: None,
            timeout: Duration::from_secs(600),
            restarts: 0,
            shard: None,
        }
    }
}

/// How a GPU computes while it trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuNumerics {
    /// Whether every operation must give the same bits each time.
    pub deterministic: bool,
    /// Whether fp32 matrix products use TF32, which has 10 bits of mantissa.
    pub tf32: bool,
}

impl Default for GpuNumerics {
    fn default() -> GpuNumerics {
        GpuNumerics {
            deterministic: true,
            tf32: false,
        }
    }
}

/// How often a checkpoint is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveEvery {
    /// After this many steps; 0 saves none.
    Steps(u64),
    /// After the first step that ends this long after the last checkpoint.
    Time(Duration),
}

/// A training run. Options that nobody gave are none where their default depends on the model, the
/// rows or the device.
#[derive(Debug, Clone)]
pub struct TrainJob {
    /// Rows to train on.
    pub rows: RowSource,
    /// Directory of the base model, or its id on the Hugging Face hub.
    pub model: PathBuf,
    /// Directory of the result.
    pub out: PathBuf,
    /// Whether to continue the run in `out`.
    pub resume: bool,
    /// Whether a resumed run may have other rows and settings than before.
    pub allow_changes: bool,
    /// Which weights are trained.
    pub method: Method,
    /// Settings of a new adapter.
    pub lora: LoraSettings,
    /// Directory of an adapter to continue instead.
    pub adapter: Option<PathBuf>,
    /// Template that lays out the rows.
    pub template: Option<TemplateChoice>,
    /// Which answers of a conversation are targets.
    pub loss: AnswerLoss,
    /// What becomes of the reasoning of answers.
    pub reasoning: ReasoningChoice,
    /// Passes over the training rows.
    pub epochs: Option<u32>,
    /// Optimizer steps, in place of epochs.
    pub steps: Option<u64>,
    /// Examples per step.
    pub batch_size: u32,
    /// Most examples per micro-batch.
    pub micro_batch: Option<u32>,
    /// Most tokens per micro-batch.
    pub micro_tokens: Option<u32>,
    /// Peak learning rate.
    pub lr: Option<f64>,
    /// How the learning rate decays.
    pub schedule: ScheduleKind,
    /// Steps of the warm-up.
    pub warmup_steps: Option<u64>,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest global norm of the gradients; 0 does not clip.
    pub clip: f64,
    /// Strength of the noise on embeddings.
    pub neftune: Option<f64>,
    /// Most tokens of an example.
    pub max_length: Option<u32>,
    /// Precision; none takes bf16 where the device has it.
    pub precision: Option<Precision>,
    /// The other formats. `formats.precision` is meaningless until `precision` is resolved.
    pub formats: Formats,
    /// Whether any of them was given. If none was, what does not fit is replaced by what does, and
    /// a resumed run keeps what it had.
    pub formats_are_given: bool,
    /// Order of the rows.
    pub order: RowOrder,
    /// Seed of everything random.
    pub seed: u64,
    /// Steps or time between checkpoints.
    pub save_every: Option<SaveEvery>,
    /// Checkpoints that stay, at the ends of as many equal parts of the run.
    pub keep_checkpoints: u32,
    /// Threshold of the loss-spike guard, in standard deviations.
    pub guard: f64,
    /// Steps between evaluations.
    pub eval_every: Option<u64>,
    /// Whether the checkpoint with the lowest held-out loss is kept and becomes the result.
    pub keep_best: bool,
    /// Evaluations without improvement that end the run.
    pub early_stop: Option<u32>,
    /// Rows to evaluate on, in place of held-out ones.
    pub eval_data: Option<RowsFile>,
    /// Share of the tasks that is held out.
    pub eval_fraction: Option<f64>,
    /// `auto`, `cpu` or `cuda:N`.
    pub device: String,
    /// How many processes train together.
    pub ranks: RanksJob,
    /// How a GPU computes.
    pub numerics: GpuNumerics,
    /// Whether to run although the memory estimate exceeds free memory.
    pub ignore_plan: bool,
    /// Whether to try the heaviest step and leave nothing behind.
    pub dry_run: bool,
    /// How many rows to print as the model gets them, instead of training.
    pub show_rows: Option<u32>,
    /// Whether the result is printed as JSON.
    pub json: bool,
    /// The options as they are typed, to run it again.
    pub options: RunOptions,
}

impl TrainJob {
    /// Writes no file of rows that cannot be read: one of several processes does.
    pub fn write_nothing_left_out(&mut self) {
        let files = match &mut self.rows {
            RowSource::Files(files) => files.as_mut_slice(),
            RowSource::Dataset { .. } => &mut [],
        };
        for file in files.iter_mut().chain(&mut self.eval_data) {
            file.left_out.file = None;
        }
    }
}
