//! The last step of rounds: the decision on their candidates, in order, and their way into the store.

use super::outcome::{Outcome, near_duplicate};
use super::{Progress, Run};
use crate::filter::{Index, Score, Threshold};
use crate::store::asked::round::{Admission, AdmittedInstruction, AdmittedRound, Rejection, Similar, is_new};
use anyhow::{Context, Result};

/// Rounds that are decided on and go into the store together. Each is still all there or not at all; that they wait for
/// the disk once for all of them is what this is for.
pub(super) struct Batch {
    rounds: Vec<AdmittedRound>,
    /// The instructions that were accepted. They have no id yet, so they are searched apart.
    fresh: Index,
}

/// Rounds that wait for the disk together, at most: none shall wait for long because so many others do.
const MOST_ROUNDS: usize = 64;

impl Batch {
    pub fn new(threshold: Threshold) -> Batch {
        Batch {
            rounds: Vec::new(),
            fresh: Index::new(threshold),
        }
    }

    /// How many rounds it has.
    pub fn len(&self) -> usize {
        self.rounds.len()
    }

    /// Whether it should go into the store.
    pub fn is_full(&self) -> bool {
        self.rounds.len() >= MOST_ROUNDS
    }
}

impl Run<'_> {
    /// What an instruction is a duplicate of, among all tasks and those of the batch: the most similar, the older among
    /// equals.
    fn duplicate(&self, instruction: &str, fresh: &Index) -> Option<(Similar, Score)> {
        let pool = self.pool.read().expect("no admission panicked");
        let old = pool.index.duplicate(instruction, pool.index.len());
        let new = fresh.duplicate(instruction, fresh.len());
        match (old, new) {
            (Some(old), new) if new.is_none_or(|new| new.score <= old.score) => {
                Some((Similar::Task(pool.entries[old.position].id), old.score))
            }
            (_, new) => new.map(|new| (Similar::Fresh(new.position), new.score)),
        }
    }

    /// Decides on a round's candidates in order, and puts it into the batch. Returns how many were accepted.
    pub(super) fn decide(
        &self,
        round: u64,
        outcome: Outcome,
        batch: &mut Batch,
        progress: &mut Progress,
    ) -> u64 {
        let before = batch.fresh.len();
        let mut instructions = Vec::with_capacity(outcome.candidates.len());
        for candidate in outcome.candidates {
            let mut rejection = candidate.rejection;
            if rejection.is_none() {
                if let Some((similar, score)) = self.duplicate(&candidate.text, &batch.fresh) {
                    rejection = Some(near_duplicate(similar, score));
                } else if progress.accepted >= progress.target {
                    rejection = Some(Rejection::new("over_target", String::new()));
                }
            }
            if rejection.is_none() {
                progress.accepted += 1;
                progress.last.clone_from(&candidate.text);
                batch.fresh.push(&candidate.text);
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
            instructions.push(AdmittedInstruction {
                request_id: candidate.request_id,
                text: candidate.text,
                is_classification: candidate.is_classification,
                rejection,
                instances: candidate.instances,
            });
        }
        batch.rounds.push(AdmittedRound {
            round,
            evolution: outcome.evolution,
            instructions,
        });
        (batch.fresh.len() - before) as u64
    }

    /// Stores everything about the batch's rounds in one transaction, and brings what was accepted into the pool.
    pub(super) async fn admit(&self, batch: Batch) -> Result<()> {
        let Some(first) = batch.rounds.first() else {
            return Ok(());
        };
        let first = first.round;
        let admission = Admission {
            run_id: self.run_id,
            rounds: batch.rounds,
        };
        let tasks = self
            .store
            .admit(&admission)
            .await
            .with_context(|| format!("round {first} and those after it were not stored"))?;
        let mut pool = self.pool.write().expect("no admission panicked");
        let mut waiting = self.waiting.lock().expect("no search panicked");
        let accepted = admission
            .rounds
            .into_iter()
            .flat_map(|round| round.instructions)
            .filter(|instruction| instruction.rejection.is_none());
        for (task, instruction) in tasks.into_iter().zip(accepted) {
            let mut instances = instruction.instances.into_iter();
            let instance = instances.find(|instance| instance.rejection.is_none());
            waiting.push(pool.entries.len());
            pool.push(task, instance.map(|found| found.instance));
        }
        Ok(())
    }

    /// Finds and stores the neighbours of all tasks that wait for theirs.
    pub(super) async fn settle_neighbors(&self) -> Result<()> {
        loop {
            let found = {
                let mut pool = self.pool.write().expect("no admission panicked");
                self.waiting.lock().expect("no search panicked").take(&mut pool)
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
