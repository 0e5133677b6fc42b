//! How a run stands, and how it ended.

use super::budget::Spent;
use crate::backend::EndpointStatus;
use std::collections::BTreeMap;

/// What happened, for whoever shows it.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Machine-made tasks in the dataset.
    pub accepted: u64,
    /// What the run is going for.
    pub target: u64,
    /// Instructions and instances that this run turned down, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// The part of the last instructions that the rules let through which was new.
    pub novelty: Option<f64>,
    /// Requests that this run sent.
    pub requests: u64,
    /// Tokens of this run's prompts.
    pub prompt_tokens: u64,
    /// Tokens of the answers to them.
    pub completion_tokens: u64,
    /// What they cost.
    pub cost: f64,
    /// How the model's endpoints do; empty for a local model.
    pub endpoints: Vec<EndpointStatus>,
    /// What was said about requests that brought nothing that can be used, most frequent first.
    pub complaints: Vec<(u64, String)>,
    /// The last instruction that was accepted.
    pub last: String,
    /// At the end of a run whose backend defers: the content keys of what it could not answer, in the order of rounds.
    pub waiting: Vec<String>,
}

impl Progress {
    /// All that was turned down.
    pub fn rejections(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// Tokens of prompts and answers.
    pub fn tokens(&self) -> u64 {
        self.prompt_tokens + self.completion_tokens
    }

    pub(super) fn reject(&mut self, reason: &str) {
        match self.rejected.get_mut(reason) {
            Some(count) => *count += 1,
            None => drop(self.rejected.insert(reason.to_string(), 1)),
        }
    }
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The target is reached.
    Target,
    /// A budget is spent.
    Budget(Spent),
    /// Too little of what the model writes is new.
    Saturated,
    /// Everything that could be asked waits for its answer.
    Waiting,
    /// Somebody asked it to stop.
    Interrupted,
}
