//! What `ewe eval` does.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::compare::ModelChoice;
use super::rows::RowsFile;
use crate::atomic_file;
use crate::interchange::Reading;
use crate::interchange::left_out::Policy;
use crate::pipeline::budget::Budget;
use crate::suite::checks::ProgramPolicy;
use crate::suite::item::SuiteSpec;

/// Who grades answers.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum JudgeChoice {
    /// A model of this machine, or behind an address.
    Model(ModelChoice),
    /// A model of the batch service, asked through the same files.
    Batch {
        /// Its name.
        batch_judge: String,
    },
}

/// A model to evaluate, and by what.
#[derive(Debug, Clone)]
pub struct EvalJob {
    /// The suites, at least one.
    pub suites: Vec<SuiteSpec>,
    /// How files of rows are read.
    pub reading: Reading,
    /// What happens to rows that cannot be read.
    pub left_out: Policy,
    /// Positive examples in a prompt of SuperNI.
    pub superni_examples: usize,
    /// Instances of a task of SuperNI.
    pub superni_instances: usize,
    /// Programs of checks.
    pub programs: ProgramPolicy,
    /// NLTK's parameters for splitting answers to IFEval into sentences; none for ewe's own.
    pub punkt: Option<PathBuf>,
    /// The most items of a suite; one of each task or row in turn.
    pub limit: Option<u64>,
    /// The most tokens of an answer; none for the suite's own.
    pub max_tokens: Option<usize>,
    /// How answers are sampled; 0 is greedy.
    pub temperature: f64,
    /// Decides on samples, on instances and on the resamples of intervals.
    pub seed: u64,
    /// Who grades answers from A to D.
    pub judge: Option<JudgeChoice>,
    /// The most tokens of a judge's reply.
    pub judge_tokens: usize,
    /// The limits of the run, of each model.
    pub budget: Budget,
    /// Directories of what is evaluated, the adapter's first, by which the training run is found.
    pub trained: Vec<PathBuf>,
    /// Files that the model was trained on.
    pub training_data: Vec<PathBuf>,
    /// The dataset; none for answers kept beside `out`, which then is there.
    pub db: Option<PathBuf>,
    /// Receives the result as JSON; none with a dataset that keeps it.
    pub out: Option<PathBuf>,
    /// Receives the answers as JSON lines.
    pub answers: Option<PathBuf>,
}

impl EvalJob {
    /// Returns a file of rows as this job reads it.
    pub fn rows(&self, path: PathBuf) -> RowsFile {
        RowsFile {
            path,
            reading: self.reading.clone(),
            left_out: self.left_out.clone(),
        }
    }

    /// Fails if an output cannot be written, or would replace a suite.
    ///
    /// # Errors
    ///
    /// Names the output.
    pub fn check_outputs(&self) -> Result<()> {
        for out in [&self.out, &self.answers].into_iter().flatten() {
            for spec in &self.suites {
                let is_same = matches!(
                    (out.canonicalize(), spec.source.canonicalize()),
                    (Ok(out), Ok(source)) if out == source
                );
                if is_same {
                    bail!(
                        "`{}` is the file of a suite\nhint: choose another name for the output",
                        out.display()
                    );
                }
            }
            atomic_file::check(out)?;
        }
        Ok(())
    }
}
