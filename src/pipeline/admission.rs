//! The last step of a round: the decision on its candidates, in order, and their way into the store.

use super::{Outcome, Progress, Run, near_duplicate};
use crate::filter::{Index, Score};
use crate::store::round::{Admission, AdmittedInstruction, Rejection, Similar, is_new};
use anyhow::{Context, Result};

impl Run<'_> {
    /// What an instruction is a duplicate of, among all tasks and the `fresh` ones, which stand at `places` of their
    /// round: the most similar, the older among equals.
    fn duplicate(&self, instruction: &str, fresh: &Index, places: &[usize]) -> Option<(Similar, Score)> {
        let pool = self.pool.read().expect("no admission panicked");
        let old = pool.index.duplicate(instruction, pool.index.len());
        let new = fresh.duplicate(instruction, fresh.len());
        match (old, new) {
            (Some(old), new) if new.is_none_or(|new| new.score <= old.score) => {
                Some((Similar::Task(pool.entries[old.position].id), old.score))
            }
            (_, new) => new.map(|new| (Similar::SameRound(places[new.position]), new.score)),
        }
    }

    /// Decides on a round's candidates in order and stores everything about them in one transaction. Returns how many
    /// were accepted.
    pub(super) async fn admit(&self, round: u64, outcome: Outcome, progress: &mut Progress) -> Result<u64> {
        let mut admission = Admission {
            run_id: self.run_id,
            round,
            evolution: outcome.evolution,
            instructions: Vec::new(),
        };
        // Accepted earlier in this very round: they have no id yet, so they are searched apart.
        let mut fresh = Index::new(self.config.threshold);
        let mut places = Vec::new();
        for candidate in outcome.candidates {
            let mut rejection = candidate.rejection;
            if rejection.is_none() {
                if let Some((similar, score)) = self.duplicate(&candidate.text, &fresh, &places) {
                    rejection = Some(near_duplicate(similar, score));
                } else if progress.accepted >= progress.target {
                    rejection = Some(Rejection::new("over_target", String::new()));
                }
            }
            let position = admission.instructions.len();
            if rejection.is_none() {
                progress.accepted += 1;
                progress.last.clone_from(&candidate.text);
                fresh.push(&candidate.text);
                places.push(position);
            }
            if let Some(is_new) = is_new(rejection.as_ref().map(|rejection| rejection.reason.as_str())) {
                self.novelty.lock().expect("nobody panics with it").push(is_new);
            }
            let rejected = candidate
                .instances
                .iter()
                .filter_map(|instance| instance.rejection.as_ref());
            for rejection in rejected.chain(rejection.as_ref()) {
                progress.reject(&rejection.reason);
            }
            admission.instructions.push(AdmittedInstruction {
                request_id: candidate.request_id,
                text: candidate.text,
                is_classification: candidate.is_classification,
                rejection,
                instances: candidate.instances,
            });
        }
        let tasks = self
            .store
            .admit(&admission)
            .await
            .with_context(|| format!("round {round} was not stored"))?;
        let accepted = tasks.len() as u64;
        let mut pool = self.pool.write().expect("no admission panicked");
        let mut waiting = self.waiting.lock().expect("no search panicked");
        let accepted_instances = admission
            .instructions
            .iter()
            .filter(|instruction| instruction.rejection.is_none())
            .map(|instruction| {
                let mut instances = instruction.instances.iter();
                instances
                    .find(|instance| instance.rejection.is_none())
                    .map(|found| found.instance.clone())
            });
        for (task, instance) in tasks.into_iter().zip(accepted_instances) {
            waiting.push(pool.entries.len());
            pool.push(task, instance);
        }
        Ok(accepted)
    }

    /// Finds and stores the neighbours of all tasks that wait for theirs.
    pub(super) async fn settle_neighbors(&self) -> Result<()> {
        loop {
            let found = {
                let pool = self.pool.read().expect("no admission panicked");
                self.waiting.lock().expect("no search panicked").take(&pool)
            };
            if found.is_empty() {
                return Ok(());
            }
            self.store
                .set_neighbors(&found)
                .await
                .context("neighbours were not stored")?;
        }
    }
}
