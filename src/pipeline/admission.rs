//! Admits finished rounds: decides on their candidates in order, and writes them into the store.

use super::GenerateRun;
use super::outcome::RoundOutcome;
use super::progress::GenerateProgress;
use crate::filter::{Index, RougeL, Threshold};
use crate::store::asked::round::{Admission, AdmittedRound};
use crate::task::{Reason, TaskRef, Verdict};
use anyhow::{Context, Result};

/// Rounds that go into the store together, so that they wait for the disk only once. Each of them
/// is still stored whole or not at all.
pub(super) struct AdmissionBatch {
    rounds: Vec<AdmittedRound>,
    /// The accepted instructions. They have no id yet, so they are searched separately.
    fresh: Index,
}

/// Rounds in a batch, at most, so that none waits long for others.
const MOST_ROUNDS: usize = 64;

impl AdmissionBatch {
    pub fn new(threshold: Threshold) -> AdmissionBatch {
        AdmissionBatch {
            rounds: Vec::new(),
            fresh: Index::new(threshold),
        }
    }

    /// The number of rounds.
    pub fn len(&self) -> usize {
        self.rounds.len()
    }

    /// Whether it has as many rounds as it may have.
    pub fn is_full(&self) -> bool {
        self.rounds.len() >= MOST_ROUNDS
    }
}

impl GenerateRun<'_> {
    /// The task that an instruction is a near-duplicate of, among all tasks and those of the batch:
    /// the most similar, the older among equals.
    fn duplicate(&self, instruction: &str, fresh: &Index) -> Option<(TaskRef, RougeL)> {
        let pool = self.pool.read().expect("no admission panicked");
        let old = pool.index.duplicate(instruction, pool.index.len());
        let new = fresh.duplicate(instruction, fresh.len());
        match (old, new) {
            (Some(old), new) if new.is_none_or(|new| new.score <= old.score) => {
                Some((TaskRef::Stored(pool.entries[old.position].id), old.score))
            }
            (_, new) => new.map(|new| (TaskRef::Fresh(new.position), new.score)),
        }
    }

    /// The verdict on an instruction that nothing spoke against before its admission.
    fn last_verdict(&self, instruction: &str, fresh: &Index, progress: &GenerateProgress) -> Verdict {
        match self.duplicate(instruction, fresh) {
            Some((task, score)) => Verdict::near_duplicate(task, score.f1()),
            None if progress.accepted >= progress.target => Verdict::rejected(Reason::OverTarget, ""),
            None => Verdict::accepted(),
        }
    }

    /// Decides on a round's candidates in order, and adds it to the batch. Returns the number of
    /// accepted ones.
    pub(super) fn decide(
        &self,
        round: u64,
        outcome: RoundOutcome,
        batch: &mut AdmissionBatch,
        progress: &mut GenerateProgress,
    ) -> u64 {
        let before = batch.fresh.len();
        let mut candidates = outcome.candidates;
        for candidate in &mut candidates {
            if candidate.verdict.is_accepted() {
                candidate.verdict = self.last_verdict(&candidate.instruction, &batch.fresh, progress);
            }
            if candidate.verdict.is_accepted() {
                progress.accepted += 1;
                progress.last.clone_from(&candidate.instruction);
                batch.fresh.push(&candidate.instruction);
            }
            if let Some(is_new) = candidate.verdict.is_new() {
                self.novelty.lock().expect("nobody panics with it").push(is_new);
            }
            let of_instances = candidate.instances.iter().map(|instance| &instance.verdict);
            for verdict in of_instances.chain([&candidate.verdict]) {
                if let Some(reason) = verdict.reason {
                    progress.reject(reason);
                }
            }
        }
        batch.rounds.push(AdmittedRound {
            round,
            evolution: outcome.evolution,
            grounding: outcome.grounding,
            candidates,
        });
        (batch.fresh.len() - before) as u64
    }

    /// Stores the rounds of the batch in one transaction, and adds the new tasks to the pool.
    pub(super) async fn admit(&self, batch: AdmissionBatch) -> Result<()> {
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
            .flat_map(|round| round.candidates)
            .filter(|candidate| candidate.verdict.is_accepted());
        for (task, candidate) in tasks.into_iter().zip(accepted) {
            let mut instances = candidate.instances.into_iter();
            let instance = instances.find(|instance| instance.verdict.is_accepted());
            waiting.push(pool.entries.len());
            pool.push(task, instance.map(|found| found.instance));
        }
        Ok(())
    }

    /// Finds and stores the neighbors of all tasks that wait for theirs.
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
