//! What a run of `generate` counts, and shows while no round ends.

use super::outcome::RoundOutcome;
use super::progress::GenerateProgress;
use super::{GenerateRun, NoAnswer, Running};
use futures::stream::StreamExt;
use std::time::Duration;
use tokio::time::timeout;

/// How often progress is shown while no round ends.
const SHOW_EVERY: Duration = Duration::from_secs(1);

impl GenerateRun<'_> {
    /// Waits for the next round to end, and shows meanwhile what is answered: the first rounds may
    /// take minutes.
    pub(super) async fn next_outcome(
        &self,
        running: &mut Running<'_>,
        progress: &mut GenerateProgress,
        show: &mut dyn FnMut(&GenerateProgress),
    ) -> Result<RoundOutcome, NoAnswer> {
        loop {
            match timeout(SHOW_EVERY, running.next()).await {
                Ok(outcome) => return outcome.expect("rounds follow those that end"),
                Err(_) => {
                    self.count(progress);
                    show(progress);
                }
            }
        }
    }

    /// Updates the counts of requests, tokens and complaints.
    pub(super) fn count(&self, progress: &mut GenerateProgress) {
        let meter = &self.asker.meter;
        progress.requests = meter.requests();
        progress.answers = meter.answers();
        progress.stages = meter.stages();
        progress.prompt_tokens = meter.prompt_tokens();
        progress.completion_tokens = meter.completion_tokens();
        progress.cost = meter.cost(self.config.budget.price);
        progress.novelty = self.novelty.lock().expect("nobody panics with it").share();
        progress.endpoints = self.asker.backend.status();
        progress.complaints = self.asker.futility.said();
        if let Some(validators) = &self.validators {
            progress.faults = validators.faults();
        }
    }
}
