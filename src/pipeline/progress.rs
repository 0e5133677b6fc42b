//! The progress of a run of `generate`, and how a run ended.

use super::budget::Spent;
use crate::backend::EndpointStatus;
use crate::store::{RunStatus, Store};
use crate::task::Reason;
use crate::validator::pool::Faults;
use anyhow::Result;
use std::collections::BTreeMap;

/// The progress of a run.
#[derive(Debug, Clone, Default)]
pub struct GenerateProgress {
    /// Machine-made tasks in the dataset.
    pub accepted: u64,
    /// Machine-made tasks that the dataset shall have.
    pub target: u64,
    /// Instructions and instances that this run rejected, by reason.
    pub rejected: BTreeMap<Reason, u64>,
    /// The share of the last instructions accepted by the rules that were new.
    pub novelty: Option<f64>,
    /// Requests that this run sent.
    pub requests: u64,
    /// Requests that were answered.
    pub answers: u64,
    /// The same by stage, in the order in which the first of each came.
    pub stages: Vec<(&'static str, u64)>,
    /// Tokens of the answered prompts.
    pub prompt_tokens: u64,
    /// Tokens of the answers.
    pub completion_tokens: u64,
    /// Cost of the tokens.
    pub cost: f64,
    /// The status of the model's endpoints; empty for a local model.
    pub endpoints: Vec<EndpointStatus>,
    /// Complaints about requests without a usable answer, most frequent first.
    pub complaints: Vec<(u64, String)>,
    /// The last accepted instruction.
    pub last: String,
    /// Instances on which the validator gave no verdict.
    pub faults: Faults,
    /// Content keys of the requests that a backend deferred, in the order of rounds; at the end of
    /// a run only.
    pub waiting: Vec<String>,
}

impl GenerateProgress {
    /// The number of all rejections.
    pub fn rejections(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// Tokens of prompts and answers.
    pub fn tokens(&self) -> u64 {
        self.prompt_tokens + self.completion_tokens
    }

    /// Counts a rejection.
    pub(super) fn reject(&mut self, reason: Reason) {
        *self.rejected.entry(reason).or_default() += 1;
    }
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The target is reached.
    Target,
    /// A limit of the budget is reached.
    Budget(Spent),
    /// Too few of the model's instructions are new.
    Saturated,
    /// All remaining requests are deferred.
    Waiting,
    /// The user interrupted it.
    Interrupted,
}

impl Ending {
    /// What the run is called in the dataset. One that reached a limit is done, too.
    pub(super) fn status(self) -> RunStatus {
        match self {
            Ending::Interrupted => RunStatus::Interrupted,
            Ending::Target | Ending::Budget(_) | Ending::Saturated | Ending::Waiting => RunStatus::Done,
        }
    }
}

/// Records how a run ended, by what `status` says of its result, and returns the result.
///
/// # Errors
///
/// That of the run, which matters more than one of recording its end.
pub(super) async fn finish<T, E: Into<anyhow::Error>>(
    store: &Store,
    run_id: i64,
    result: Result<T, E>,
    status: impl FnOnce(&T) -> RunStatus,
) -> Result<T> {
    let status = result.as_ref().map_or(RunStatus::Failed, status);
    let finished = store.finish_run(run_id, status).await;
    let done = result.map_err(Into::into)?;
    finished?;
    Ok(done)
}
