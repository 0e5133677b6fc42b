//! Admits finished rounds: has a validator look at their instances, decides on their candidates in
//! order, and writes them into the store.

use super::outcome::RoundOutcome;
use super::progress::GenerateProgress;
use super::{GenerateConfig, GenerateRun, NoAnswer};
use crate::filter::{Index, RougeL, Threshold};
use crate::store::asked::round::{Admission, AdmittedRound};
use crate::task::{Candidate, Instance, Reason, Task, TaskRef, Turn, Verdict};
use crate::validator::{Said, Validators};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

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
    /// Has the validator look at the instances of a round that nothing spoke against.
    pub(super) async fn validated(
        &self,
        mut outcome: RoundOutcome,
        round: u64,
    ) -> Result<RoundOutcome, NoAnswer> {
        let Some(validators) = &self.validators else {
            return Ok(outcome);
        };
        let candidates = outcome.candidates.iter_mut();
        for candidate in candidates.filter(|candidate| candidate.verdict.is_accepted()) {
            let place = format!(
                "round {round}, '{}'",
                crate::text::one_line(&candidate.instruction, 60)
            );
            if candidate.opening.is_some() {
                candidate.verdict = verdict_of(validators, &conversation(candidate), &place).await?;
                continue;
            }
            let instances = candidate.instances.iter_mut();
            for instance in instances.filter(|instance| instance.verdict.is_accepted()) {
                let row = row(&candidate.instruction, &instance.instance);
                instance.verdict = verdict_of(validators, &row, &place).await?;
            }
            if candidate
                .instances
                .iter()
                .all(|instance| instance.verdict.is_rejected())
            {
                candidate.verdict = Verdict::rejected(Reason::NoValidInstance, "");
            }
        }
        Ok(outcome)
    }

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
    /// The question of a conversation is that of the task that it continues, and is not compared.
    fn last_verdict(&self, candidate: &Candidate, fresh: &Index, progress: &GenerateProgress) -> Verdict {
        let duplicate = match candidate.opening {
            Some(_) => None,
            None => self.duplicate(&candidate.instruction, fresh),
        };
        match duplicate {
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
                candidate.verdict = self.last_verdict(candidate, &batch.fresh, progress);
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
            let first = candidate.opening.map(|opening| opening.first);
            waiting.push(pool.entries.len());
            pool.push(task, first.or(instance.map(|found| found.instance)));
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
                .context("neighbors were not stored")?;
        }
    }
}

/// Asks the validator about a row.
async fn verdict_of(validators: &Validators, row: &Value, place: &str) -> Result<Verdict, NoAnswer> {
    let said = validators.ask(row, place).await.map_err(NoAnswer::Fatal)?;
    Ok(match said {
        Said::Accepts(_) => Verdict::accepted(),
        Said::Rejects(reason) => Verdict::rejected(Reason::Validator, reason),
        Said::Failed(what) => Verdict::rejected(Reason::ValidatorFailed, what),
    })
}

/// Tries the validator on a seed before anything is asked and paid for: whether it starts, and
/// answers. What it says of the seed does not matter.
///
/// # Errors
///
/// If it gives no verdict.
pub(super) async fn try_validator(config: &GenerateConfig, seeds: &[Task]) -> Result<()> {
    let instance = |seed: &Task| Some((seed.instruction.clone(), seed.instances.first()?.clone()));
    let (Some(validator), Some((instruction, instance))) =
        (&config.validator, seeds.iter().find_map(instance))
    else {
        return Ok(());
    };
    let validators = Validators::new(validator);
    match validators.ask(&row(&instruction, &instance), "a seed").await? {
        Said::Failed(what) => bail!(
            "the validator `{}` gives no verdict on a seed task: it {what}\nhint: it gets rows as lines of JSON and answers \
             each with a line, such as {{\"accept\": false, \"reason\": \"too long\"}}",
            validator.command
        ),
        _ => Ok(()),
    }
}

/// A row that is not in the dataset yet, as a validator gets it.
fn row(instruction: &str, instance: &Instance) -> Value {
    json!({"instruction": instruction, "input": instance.input, "output": instance.output})
}

/// A conversation that is not in the dataset yet, as a validator gets it: like one that is.
fn conversation(candidate: &Candidate) -> Value {
    let mut json = Value::Null;
    for (instance, turns) in candidate.task_instances() {
        json = row(&candidate.instruction, instance);
        let messages = turns.iter().map(Turn::to_json);
        let messages = messages.filter_map(|message| serde_json::from_str(&message).ok());
        json["turns"] = Value::Array(messages.collect());
    }
    if let Some(system) = candidate
        .opening
        .as_ref()
        .and_then(|opening| opening.system.as_ref())
    {
        json["system"] = system.as_str().into();
    }
    json
}
