//! `ewe influence`

use crate::cli::args::reading::ReadingArgs;
use crate::interchange::Need;
use crate::job::influence::{Direction, InfluenceJob};
use crate::job::rows::RowsFile;
use anyhow::Result;
use std::path::PathBuf;

/// Arguments of `ewe influence`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
For each row of the dataset: would training on it lower the loss on held-out
tasks? A row's influence is the cosine of the direction in which it would move
the adapter, and of the direction that lowers the loss on a held-out task: above
zero it helps, below zero it hurts. It is the mean over the held-out tasks, and
over checkpoints of the run, weighted by the learning rate. A killed command
goes on where it was when it is started again.

Before: `ewe split --db farm.db --eval 10%`, and `ewe train --keep-checkpoints 2`
on what is left.
After: `ewe list --db farm.db --sort influence`, and
`ewe train --where 'influence > 0'`.")]
pub struct Args {
    /// Dataset whose rows are looked at: all that `ewe train` takes without options, so none of
    /// rejected and of held-out tasks
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// The --out of a training run of an adapter, with its checkpoints
    #[arg(long, value_name = "DIR")]
    pub run_dir: PathBuf,

    /// Directory of the run's base model, or its id on the Hugging Face hub [default: what the run
    /// was started with]
    #[arg(long, value_name = "DIR|HF_ID")]
    pub model: Option<PathBuf>,

    /// Rows in place of the dataset's held-out tasks, in any format that `ewe import` reads. It is
    /// then not stored which of them a row speaks to
    #[arg(long, value_name = "FILE")]
    pub eval_data: Option<PathBuf>,

    /// How the file of --eval-data is read
    #[command(flatten)]
    pub reading: ReadingArgs,

    /// Checkpoints to look at, the last and others spread evenly over the run. Each takes about as
    /// long as an epoch of training
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub checkpoints: u16,

    /// Numbers that a gradient is projected to at random; 0 projects none, and takes the memory of
    /// a whole adapter for each held-out task
    #[arg(long, value_name = "K", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    pub dimensions: u32,

    /// The direction in which a row would move the weights
    #[arg(long, value_enum, default_value_t = Direction::default())]
    pub direction: Direction,

    /// Seed of the projection
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// Device: auto (a GPU if there is one), cpu, or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: String,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

impl Args {
    /// Returns what the command does.
    ///
    /// # Errors
    ///
    /// When columns are mapped that do not go together.
    pub fn job(&self) -> Result<InfluenceJob> {
        let file = |path: &PathBuf| -> Result<RowsFile> {
            Ok(RowsFile {
                path: path.clone(),
                reading: self.reading.reading(Need::Pair)?,
                left_out: self.reading.policy(),
            })
        };
        Ok(InfluenceJob {
            db: self.db.clone(),
            run_dir: self.run_dir.clone(),
            model: self.model.clone(),
            eval: self.eval_data.as_ref().map(file).transpose()?,
            checkpoints: usize::from(self.checkpoints),
            dimensions: self.dimensions,
            direction: self.direction,
            seed: self.seed,
            device: self.device.clone(),
            json: self.json,
        })
    }
}
