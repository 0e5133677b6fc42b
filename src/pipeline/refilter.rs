//! The filter over what a dataset holds already: with another threshold, other rules, or evaluation files that were
//! not at hand when its tasks came in.

use crate::atomic_file::Lines;
use crate::filter::file::{Outcome, add_against};
use crate::filter::rouge::{Score, Threshold};
use crate::filter::rules::RuleSet;
use crate::filter::screen::{Candidate, Place, Screen, Verdict};
use crate::filter::shared;
use crate::interchange::read::Reading;
use crate::progress::Progress;
use crate::store::asked::round::PoolTask;
use crate::store::{Change, Store};
use crate::task::{Instance, Review, Task};
use anyhow::{Context, Result};
use std::path::PathBuf;

/// Tasks that are judged together.
const BATCH: usize = 4096;
/// The name in the history of what is rejected here.
const WHO: &str = "ewe filter";

/// How to judge.
#[derive(Debug, Clone)]
pub struct Config {
    /// Files whose tasks the dataset must not be similar to, or contain.
    pub against: Vec<PathBuf>,
    /// How these files are read, where their columns have names that nobody else gives them.
    pub reading: Reading,
    /// ROUGE-L F1 above which two instructions count as the same.
    pub threshold: Threshold,
    /// Rules over a task alone.
    pub rules: RuleSet,
    /// Name the most similar task of every task, not of near-duplicates only.
    pub nearest: bool,
    /// Change nothing.
    pub dry_run: bool,
    /// Where verdicts go; rows are tasks' ids.
    pub verdicts: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug)]
pub struct Refiltered {
    /// The verdicts on the tasks of the dataset. Those that are objected to but stay count as accepted.
    pub outcome: Outcome,
    /// Tasks that leave the dataset.
    pub rejected: Vec<Rejected>,
    /// Tasks that are objected to, and stay because somebody has accepted them.
    pub kept_by_people: u64,
    /// The action in the history; none after a dry run, or where nothing changed.
    pub change: Option<Change>,
}

/// A task that leaves the dataset.
#[derive(Debug)]
pub struct Rejected {
    /// Its id.
    pub id: i64,
    /// Its instruction.
    pub instruction: String,
    /// Why, as the history has it.
    pub why: String,
}

/// Judges the tasks of the dataset in the order of their admission, those that were rejected left out, and rejects
/// pending ones that are objected to, as one action that `ewe undo` takes back. Tasks that somebody accepted stay, and
/// later tasks are compared with them.
pub async fn refilter(store: &Store, config: &Config, quiet: bool) -> Result<Refiltered> {
    let mut judge = Screen::new(config.rules.clone(), config.threshold, config.nearest);
    add_against(&mut judge, &config.against, &config.reading, quiet)?;
    let mut out = config.verdicts.as_deref().map(Lines::begin).transpose()?;
    let mut pool = store.pool().await?;
    pool.retain(|task| task.review != Review::Rejected);
    let sources = Sources { store, config };
    let mut rejudged = Refiltered {
        outcome: Outcome::default(),
        rejected: Vec::new(),
        kept_by_people: 0,
        change: None,
    };
    let mut bar = Progress::new("filter", "task", 0, pool.len() as u64, quiet);
    for some in pool.chunks(BATCH) {
        let tasks = with_instances(store, some).await?;
        let candidates: Vec<Candidate<'_>> = some
            .iter()
            .zip(&tasks)
            .map(|(stored, task)| Candidate {
                place: Place {
                    source: 0,
                    row: stored.id as u32,
                },
                task,
                certain: stored.review == Review::Accepted,
            })
            .collect();
        for (stored, verdict) in some.iter().zip(judge.judge(&candidates)) {
            if let Some(out) = &mut out {
                out.row(&verdict.to_json(stored.id as u64, |i| sources.name(i)))?;
            }
            rejudged.take(stored, &verdict, &sources);
        }
        bar.set(
            rejudged.outcome.rows,
            &format!("{} rejected", rejudged.rejected.len()),
        );
    }
    bar.finish();
    if let Some(out) = out {
        out.commit()?;
    }
    if !config.dry_run {
        let reasons: Vec<(i64, String)> = rejudged
            .rejected
            .iter()
            .map(|rejected| (rejected.id, rejected.why.clone()))
            .collect();
        rejudged.change = store
            .reject_pending(&reasons, WHO)
            .await
            .context("nothing was changed")?;
    }
    Ok(rejudged)
}

impl Refiltered {
    fn take(&mut self, stored: &PoolTask, verdict: &Verdict, sources: &Sources<'_>) {
        let Some(reason) = verdict.reason else {
            return self.outcome.count(verdict);
        };
        if stored.review == Review::Accepted {
            self.kept_by_people += 1;
            self.outcome.rows += 1;
            self.outcome.accepted += 1;
            return;
        }
        self.outcome.count(verdict);
        self.rejected.push(Rejected {
            id: stored.id,
            instruction: stored.instruction.clone(),
            why: sources.why(reason, verdict),
        });
    }
}

/// Names of what tasks are compared with: the dataset, then evaluation files.
struct Sources<'a> {
    store: &'a Store,
    config: &'a Config,
}

impl Sources<'_> {
    fn name(&self, source: u32) -> String {
        match source.checked_sub(1) {
            Some(against) => self.config.against[against as usize].display().to_string(),
            None => self.store.path().display().to_string(),
        }
    }

    /// A verdict in words: `near_duplicate of task 12 (ROUGE-L 0.833 above 0.7)`.
    fn why(&self, reason: &str, verdict: &Verdict) -> String {
        let mut why = reason.to_string();
        if let Some(Place { source, row }) = verdict.nearest {
            match source {
                0 => why += &format!(" of task {row}"),
                _ => why += &format!(" of `{}` row {row}", self.name(source)),
            }
        }
        if let (true, Some(score)) = (verdict.detail.is_empty(), verdict.score) {
            why += &format!(
                " (ROUGE-L {:.3} above {})",
                Score::f1(score),
                self.config.threshold
            );
        } else if !verdict.detail.is_empty() {
            why += &format!(": {}", verdict.detail);
        }
        why
    }
}

async fn with_instances(store: &Store, tasks: &[PoolTask]) -> Result<Vec<Task>> {
    let ids: Vec<i64> = tasks.iter().map(|task| task.id).collect();
    let mut instances = std::collections::HashMap::<i64, Vec<Instance>>::new();
    for (id, instance) in store.instances_of(&ids).await? {
        instances.entry(id).or_default().push(instance);
    }
    Ok(tasks
        .iter()
        .map(|task| {
            let mut task = Task {
                name: None,
                instruction: task.instruction.clone(),
                instances: instances.remove(&task.id).unwrap_or_default(),
                is_classification: false,
            };
            shared::lay_apart(&mut task);
            task
        })
        .collect())
}
