//! `ewe validate`: a validator of the user's over the rows of a dataset. Verdicts are stored as
//! they come, so an interrupted run goes on where it stopped. At the end, pending tasks of which it
//! rejects an instance are rejected, as one action.

use crate::pipeline::{Ending, progress};
use crate::store::curation::validation::{NewValidation, Unvalidated};
use crate::store::{Change, Filter, Store};
use crate::task::Reason;
use crate::validator::pool::Faults;
use crate::validator::{Said, ValidatorConfig, Validators};
use anyhow::{Context, Result};
use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

/// Rows that are read, asked about and stored together.
const BATCH: usize = 512;
/// The actor in the history.
const WHO: &str = "ewe validate";

/// How to validate a dataset.
#[derive(Debug, Clone)]
pub struct ValidateConfig {
    /// Which tasks.
    pub filter: Filter,
    /// The validator.
    pub validator: ValidatorConfig,
    /// Also ask about rows that it has a verdict on.
    pub again: bool,
    /// Store no verdict, and change nothing.
    pub dry_run: bool,
}

/// The result, and the progress on the way.
#[derive(Debug, Clone, Default)]
pub struct Validated {
    /// Rows that are to be asked about.
    pub total: u64,
    /// Rows with a verdict from before.
    pub known: u64,
    /// Rows that it accepts, of those that were asked about.
    pub accepted: u64,
    /// Rows that it rejects: task, place within the task, reason.
    pub rejected: Vec<(i64, i64, String)>,
    /// Rows without a verdict.
    pub faults: Faults,
    /// Tasks that it would reject, and that stay because somebody accepted them.
    pub kept_by_people: u64,
    /// The action in the history; `None` if nothing changed.
    pub change: Option<Change>,
}

impl Validated {
    /// Rows that were asked about so far.
    pub fn asked(&self) -> u64 {
        self.accepted + self.rejected.len() as u64 + self.faults.count
    }
}

/// Validates the rows of a dataset. `show` is called after each batch.
///
/// # Errors
///
/// If the validator gives no verdict on many rows in a row, or the store fails. Verdicts so far are
/// stored.
pub async fn validate(
    store: &Store,
    config: &ValidateConfig,
    interrupted: &AtomicBool,
    show: &mut dyn FnMut(&Validated),
) -> Result<(Ending, Validated)> {
    let command = config.validator.command.as_str();
    let rows = store.validatable(&config.filter, command).await?;
    let tasks: BTreeSet<i64> = rows.iter().map(|(task, ..)| *task).collect();
    let asked: Vec<i64> = rows
        .iter()
        .filter(|(.., is_known)| config.again || !is_known)
        .map(|(_, instance, _)| *instance)
        .collect();
    let mut now = Validated {
        total: asked.len() as u64,
        known: (rows.len() - asked.len()) as u64,
        ..Validated::default()
    };
    if config.dry_run {
        let ending = pass(store, config, None, &asked, interrupted, &mut now, show).await?;
        return Ok((ending, now));
    }
    store.note_killed("validate", None).await?;
    let settings = json!({"validator": config.validator, "filter": config.filter, "again": config.again});
    let run_id = store.begin_run("validate", &settings, None, None).await?;
    let mut result = pass(store, config, Some(run_id), &asked, interrupted, &mut now, show).await;
    if let Ok(Ending::Target) = result {
        let tasks: Vec<i64> = tasks.into_iter().collect();
        if let Err(error) = reject(store, command, &tasks, &mut now).await {
            result = Err(error);
        }
    }
    let ending = progress::finish(store, run_id, result, |ending| ending.status()).await?;
    Ok((ending, now))
}

/// Asks about all rows, a batch at a time.
async fn pass(
    store: &Store,
    config: &ValidateConfig,
    run_id: Option<i64>,
    asked: &[i64],
    interrupted: &AtomicBool,
    now: &mut Validated,
    show: &mut dyn FnMut(&Validated),
) -> Result<Ending> {
    let validators = Validators::new(&config.validator);
    for ids in asked.chunks(BATCH) {
        if interrupted.load(Ordering::Relaxed) {
            return Ok(Ending::Interrupted);
        }
        let rows = store.unvalidated(ids).await?;
        let mut asking: FuturesUnordered<_> = rows
            .into_iter()
            .map(|row| {
                let validators = &validators;
                async move {
                    let place = format!("task {}, instance {}", row.task_id, row.ordinal);
                    let said = validators.ask(&of_stored(&row), &place).await;
                    (row, said)
                }
            })
            .collect();
        let mut verdicts = Vec::new();
        let mut failure = None;
        while let Some((row, said)) = asking.next().await {
            let (accepted, reason) = match said {
                Ok(Said::Accepts(reason)) => (true, reason),
                Ok(Said::Rejects(reason)) => (false, reason),
                Ok(Said::Failed(_)) => continue,
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            };
            match accepted {
                true => now.accepted += 1,
                false => now.rejected.push((row.task_id, row.ordinal, reason.clone())),
            }
            verdicts.push(NewValidation {
                of: row,
                accepted,
                reason,
            });
        }
        drop(asking);
        verdicts.sort_by_key(|verdict| verdict.of.instance_id);
        if let Some(run_id) = run_id {
            store
                .add_validations(run_id, &config.validator.command, &verdicts)
                .await?;
        }
        now.faults = validators.faults();
        show(now);
        if let Some(failure) = failure {
            return Err(failure);
        }
    }
    now.rejected.sort();
    Ok(Ending::Target)
}

/// Rejects the pending tasks of which the validator rejects an instance.
async fn reject(store: &Store, command: &str, tasks: &[i64], now: &mut Validated) -> Result<()> {
    let invalid = store.invalid_tasks(command, tasks).await?;
    let reasons: Vec<(i64, String)> = invalid
        .into_iter()
        .map(|(task, reason)| match reason.is_empty() {
            true => (task, Reason::Validator.to_string()),
            false => (task, format!("{}: {reason}", Reason::Validator)),
        })
        .collect();
    now.change = store
        .reject_pending(&reasons, WHO)
        .await
        .context("the verdicts are stored, and no task was rejected")?;
    let changed = now.change.as_ref().map_or(0, |change| change.tasks);
    now.kept_by_people = (reasons.len() as u64).saturating_sub(changed as u64);
    Ok(())
}

/// A row of a dataset, as a validator gets it.
fn of_stored(row: &Unvalidated) -> Value {
    let mut json = json!({
        "id": row.task_id,
        "instruction": row.instruction,
        "input": row.input,
        "output": row.output,
    });
    if let Some(system) = &row.system {
        json["system"] = system.as_str().into();
    }
    if let Some(turns) = row
        .turns
        .as_deref()
        .and_then(|turns| serde_json::from_str(turns).ok())
    {
        json["turns"] = turns;
    }
    json
}
