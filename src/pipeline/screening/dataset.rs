//! Filters the tasks of a dataset again: with another threshold, other rules, or new evaluation
//! files.

use super::against::{add_against, evaluation_row};
use super::file::FilterCounts;
use super::rows::with_answers;
use crate::atomic_file::Lines;
use crate::filter::Compared;
use crate::filter::rouge::Threshold;
use crate::filter::rules::RuleSet;
use crate::filter::screen::{Screen, Submission, verdict_row};
use crate::filter::shared;
use crate::interchange::{Reading, turns};
use crate::progress::ProgressMeter;
use crate::store::asked::round::PoolTask;
use crate::store::{Change, Store};
use crate::task::{Instance, Reason, Review, Task, TaskRef, Verdict};
use anyhow::{Context, Result};
use std::path::PathBuf;

/// Tasks that are screened together.
const BATCH: usize = 4096;
/// The actor in the history.
const WHO: &str = "ewe filter";

/// How to filter a dataset.
#[derive(Debug, Clone)]
pub struct RefilterConfig {
    /// Evaluation files: tasks must not be similar to their tasks, nor contain parts of them.
    pub against: Vec<PathBuf>,
    /// How to read these files if their columns have unusual names.
    pub reading: Reading,
    /// ROUGE-L F1 above which two texts are near-duplicates.
    pub threshold: Threshold,
    /// What of a conversation is compared.
    pub compared: Compared,
    /// The rules for each task.
    pub rules: RuleSet,
    /// Name the most similar task in every verdict, not only in those on near-duplicates.
    pub nearest: bool,
    /// Change nothing.
    pub dry_run: bool,
    /// The file for verdicts. Its rows are ids of tasks.
    pub verdicts: Option<PathBuf>,
}

/// The result of filtering a dataset.
#[derive(Debug)]
pub struct Refiltered {
    /// The verdicts on the tasks. Tasks that stay because somebody accepted them count as accepted.
    pub counts: FilterCounts,
    /// Tasks that leave the dataset.
    pub rejected: Vec<RejectedTask>,
    /// Tasks that the filter rejects, and that stay because somebody accepted them.
    pub kept_by_people: u64,
    /// The action in the history; `None` after a dry run, or if nothing changed.
    pub change: Option<Change>,
}

/// A task that leaves the dataset.
#[derive(Debug)]
pub struct RejectedTask {
    /// Its id.
    pub id: i64,
    /// Its instruction.
    pub instruction: String,
    /// The note in the history.
    pub why: String,
}

/// Screens the tasks of the dataset that are not rejected, in the order of admission. Rejects
/// pending tasks with a bad verdict, as one action that `ewe undo` takes back. Tasks that somebody
/// accepted stay, and later tasks are compared with them.
pub async fn refilter(store: &Store, config: &RefilterConfig, quiet: bool) -> Result<Refiltered> {
    let mut screen =
        Screen::new(config.rules.clone(), config.threshold, config.nearest).comparing(config.compared);
    add_against(&mut screen, &config.against, &config.reading, quiet)?;
    let mut out = config.verdicts.as_deref().map(Lines::begin).transpose()?;
    let mut pool = store.pool().await?;
    pool.retain(|task| task.review != Review::Rejected);
    let sources = Sources { store, config };
    let mut refiltered = Refiltered {
        counts: FilterCounts::default(),
        rejected: Vec::new(),
        kept_by_people: 0,
        change: None,
    };
    let mut bar = ProgressMeter::new("filter", "task", 0, pool.len() as u64, quiet);
    for some in pool.chunks(BATCH) {
        let tasks = with_instances(store, some).await?;
        let submissions: Vec<Submission<'_>> = some
            .iter()
            .zip(&tasks)
            .map(|(stored, task)| Submission {
                task_ref: TaskRef::Stored(stored.id),
                task,
                is_certain: stored.review == Review::Accepted,
            })
            .collect();
        for (stored, verdict) in some.iter().zip(screen.verdicts(&submissions)) {
            if let Some(out) = &mut out {
                out.row(&verdict_row(&verdict, stored.id as u64, |task| sources.of(task)))?;
            }
            refiltered.take(stored, &verdict, &sources);
        }
        bar.set(
            refiltered.counts.rows,
            &format!("{} rejected", refiltered.rejected.len()),
        );
    }
    bar.finish();
    if let Some(out) = out {
        out.commit()?;
    }
    if !config.dry_run {
        let reasons: Vec<(i64, String)> = refiltered
            .rejected
            .iter()
            .map(|rejected| (rejected.id, rejected.why.clone()))
            .collect();
        refiltered.change = store
            .reject_pending(&reasons, WHO)
            .await
            .context("nothing was changed")?;
    }
    Ok(refiltered)
}

impl Refiltered {
    /// Adds the verdict on a task.
    fn take(&mut self, stored: &PoolTask, verdict: &Verdict, sources: &Sources<'_>) {
        let Some(reason) = verdict.reason else {
            return self.counts.count(verdict);
        };
        if stored.review == Review::Accepted {
            self.kept_by_people += 1;
            self.counts.rows += 1;
            self.counts.accepted += 1;
            return;
        }
        self.counts.count(verdict);
        self.rejected.push(RejectedTask {
            id: stored.id,
            instruction: stored.instruction.clone(),
            why: sources.why(reason, verdict),
        });
    }
}

/// The names of the dataset and the evaluation files that tasks are compared with.
struct Sources<'a> {
    store: &'a Store,
    config: &'a RefilterConfig,
}

impl Sources<'_> {
    /// The name of a task's dataset or file, with the task's number there.
    fn of(&self, task: TaskRef) -> (String, i64) {
        match task {
            TaskRef::Stored(id) => (self.store.path().display().to_string(), id),
            task => evaluation_row(&self.config.against, task),
        }
    }

    /// A verdict in words, such as `near_duplicate of task 12 (ROUGE-L 0.833 above 0.7)`.
    fn why(&self, reason: Reason, verdict: &Verdict) -> String {
        let mut why = reason.to_string();
        match verdict.nearest.map(|nearest| nearest.task) {
            Some(TaskRef::Stored(id)) => why += &format!(" of task {id}"),
            Some(task) => {
                let (file, row) = self.of(task);
                why += &format!(" of `{file}` row {row}");
            }
            None => {}
        }
        let rouge_l = verdict.nearest.and_then(|nearest| nearest.rouge_l);
        if let (true, Some(rouge_l)) = (verdict.detail.is_empty(), rouge_l) {
            why += &format!(" (ROUGE-L {rouge_l:.3} above {})", self.config.threshold);
        } else if !verdict.detail.is_empty() {
            why += &format!(": {}", verdict.detail);
        }
        why
    }
}

/// Loads the instances of tasks. Instructions in the layout of a known prompt are split.
pub(in crate::pipeline) async fn with_instances(store: &Store, tasks: &[PoolTask]) -> Result<Vec<Task>> {
    let ids: Vec<i64> = tasks.iter().map(|task| task.id).collect();
    let mut conversations = store.turns_of(&ids).await?;
    let mut later = std::collections::HashMap::<i64, Vec<Instance>>::new();
    let mut instances = std::collections::HashMap::<i64, Vec<Instance>>::new();
    for (id, mut instance) in store.instances_of(&ids).await? {
        let of_task = instances.entry(id).or_default();
        if let Some(turns) = conversations.remove(&(id, of_task.len() as i64)) {
            let turns = turns::of_column(Some(&turns));
            later
                .entry(id)
                .or_default()
                .extend(with_answers(&mut instance, &turns));
        }
        of_task.push(instance);
    }
    Ok(tasks
        .iter()
        .map(|task| {
            let mut task = Task {
                name: None,
                instruction: task.instruction.clone(),
                instances: instances.remove(&task.id).unwrap_or_default(),
                is_classification: false,
                later: later.remove(&task.id).unwrap_or_default(),
            };
            shared::split_layout(&mut task);
            task
        })
        .collect())
}
