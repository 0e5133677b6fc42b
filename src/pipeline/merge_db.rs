//! Makes one dataset of several, such as those that machines grew from parts of one seed. Tasks of
//! a later dataset that are near-duplicates of a task of an earlier one are rejected, as `ewe
//! filter` would reject them.

use super::neighbors;
use super::screening::dataset::with_instances;
use crate::filter::Threshold;
use crate::filter::rules::RuleSet;
use crate::filter::screen::{Screen, Submission};
use crate::progress::ProgressMeter;
use crate::report::Figures;
use crate::store::asked::round::PoolTask;
use crate::store::merged::{Brought, MergedDraft};
use crate::store::{RunStatus, Store};
use crate::task::{Review, Task, TaskRef, Verdict};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Tasks that are compared together.
const BATCH: i64 = 4096;
/// The actor in the history.
const WHO: &str = "ewe merge-db";

/// What to merge, and how.
#[derive(Debug, Clone)]
pub struct MergeDbConfig {
    /// The datasets. Of what two of them have, the first one's stays.
    pub inputs: Vec<PathBuf>,
    /// The dataset to make.
    pub out: PathBuf,
    /// ROUGE-L F1 above which two instructions are near-duplicates; `None` takes what `generate`
    /// recorded.
    pub threshold: Option<Threshold>,
    /// Make nothing, only count.
    pub dry_run: bool,
}

/// The result of a merge.
#[derive(Debug, serde::Serialize)]
pub struct MergedDb {
    /// The datasets in order.
    pub inputs: Vec<MergedInput>,
    /// Tasks of the result, without those that are rejected.
    pub tasks: i64,
    /// The threshold that was applied.
    #[serde(serialize_with = "as_text")]
    pub threshold: Threshold,
    /// The thresholds that `generate` recorded, if there are several.
    pub thresholds: Vec<String>,
}

/// One dataset of a merge.
#[derive(Debug, serde::Serialize)]
pub struct MergedInput {
    /// Its path, as given.
    pub file: String,
    /// What it brought; of the first dataset, only its number of tasks.
    #[serde(flatten)]
    pub brought: Brought,
    /// Its tasks that are rejected as near-duplicates of earlier datasets'.
    pub near_duplicates: i64,
    /// Its tasks that are near-duplicates, and stay because somebody accepted them.
    pub kept_by_people: i64,
    /// The action of these rejections; none after a dry run.
    pub action: Option<i64>,
}

fn as_text<S: serde::Serializer>(threshold: &Threshold, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(threshold)
}

/// Merges datasets into a new one, which appears whole or not at all. The datasets stay as they
/// are; each is read as it is at one moment, whoever is writing to it.
///
/// # Errors
///
/// A dataset that is given twice; those of reading and writing datasets, with the name of the file.
pub async fn merge(config: &MergeDbConfig, quiet: bool) -> Result<MergedDb> {
    check_different(&config.inputs)?;
    let (first, others) = config.inputs.split_first().context("there is nothing to merge")?;
    let mut draft = MergedDraft::begin(&config.out, first).await?;
    let mut merged = MergedDb {
        inputs: Vec::new(),
        tasks: 0,
        threshold: Threshold::SELF_INSTRUCT,
        thresholds: Vec::new(),
    };
    let brought = Brought {
        tasks: draft.last_task().await?,
        first: 1,
        ..Brought::default()
    };
    merged.note(first, brought);
    for input in others {
        let brought = draft.add(input, &input.display().to_string()).await?;
        merged.note(input, brought);
    }
    merged.thresholds = recorded(draft.store()).await?;
    merged.threshold = config
        .threshold
        .or(strictest(&merged.thresholds))
        .unwrap_or(merged.threshold);
    reject_near_duplicates(&draft, &mut merged, quiet).await?;
    merged.tasks = draft.tasks().await?;
    if config.dry_run {
        // There is no dataset in which the actions could be taken back.
        merged.inputs.iter_mut().for_each(|input| input.action = None);
        return Ok(merged);
    }
    record(draft.store(), config, &merged).await?;
    neighbors::complete(draft.store(), quiet).await?;
    Figures::load(draft.store()).await?;
    draft.publish().await?.close().await;
    Ok(merged)
}

/// Fails if a dataset is given twice: it would be merged with itself.
fn check_different(inputs: &[PathBuf]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for input in inputs {
        if let Ok(real) = input.canonicalize()
            && !seen.insert(real)
        {
            bail!(
                "`{}` is given twice\nhint: name each dataset once",
                input.display()
            );
        }
    }
    Ok(())
}

/// The thresholds of all runs of `generate`, the lowest first.
async fn recorded(store: &Store) -> Result<Vec<String>> {
    let runs = store.runs_of("generate").await?;
    let thresholds = runs
        .iter()
        .filter_map(|(_, config, _)| config["threshold"].as_str());
    let mut thresholds: Vec<String> = thresholds.map(str::to_owned).collect();
    let value = |text: &String| text.parse::<f64>().unwrap_or(1.0);
    thresholds.sort_by(|one, other| value(one).total_cmp(&value(other)));
    thresholds.dedup();
    Ok(thresholds)
}

/// The lowest threshold: no two tasks are more alike than any of the runs allowed.
fn strictest(thresholds: &[String]) -> Option<Threshold> {
    thresholds.iter().find_map(|text| text.parse().ok())
}

impl MergedDb {
    fn note(&mut self, input: &Path, brought: Brought) {
        self.inputs.push(MergedInput {
            file: input.display().to_string(),
            brought,
            near_duplicates: 0,
            kept_by_people: 0,
            action: None,
        });
    }
}

/// Compares the tasks of each dataset with those of the datasets before it. What is alike within
/// one dataset has been judged there, by the rules of its runs. So it is with the first one's
/// tasks.
async fn reject_near_duplicates(draft: &MergedDraft, merged: &mut MergedDb, quiet: bool) -> Result<()> {
    let last = draft.last_task().await?;
    let mut bar = ProgressMeter::new("near-duplicates", "task", 0, last as u64, quiet);
    // Only the other tasks count.
    let rules = RuleSet::named("none").context("there is a set without rules")?;
    let mut screen = Screen::new(rules, merged.threshold, false);
    let starts: Vec<i64> = merged.inputs.iter().map(|input| input.brought.first).collect();
    let threshold = merged.threshold;
    for (at, input) in merged.inputs.iter_mut().enumerate() {
        let ends = starts.get(at + 1).map_or(last, |next| next - 1);
        if at > 0 {
            let reasons = near_duplicates(draft, &mut screen, starts[at]..=ends, threshold, input).await?;
            let change = draft.store().reject_pending(&reasons, WHO).await?;
            input.near_duplicates = change.map_or(0, |change| change.tasks);
            input.action = change.map(|change| change.group);
        }
        if at + 1 < starts.len() {
            keep(draft, &mut screen, starts[at]..=ends, &mut bar).await?;
        }
    }
    bar.set(last as u64, "");
    bar.finish();
    Ok(())
}

/// Returns the pending tasks among these that are near-duplicates of tasks kept before, with the
/// note for the history. Counts in `input` those that stay because somebody accepted them.
async fn near_duplicates(
    draft: &MergedDraft,
    screen: &mut Screen,
    ids: std::ops::RangeInclusive<i64>,
    threshold: Threshold,
    input: &mut MergedInput,
) -> Result<Vec<(i64, String)>> {
    let mut reasons = Vec::new();
    let mut from = *ids.start();
    loop {
        let stored = draft.unrejected(from, *ids.end(), BATCH).await?;
        let Some(last) = stored.last() else {
            return Ok(reasons);
        };
        from = last.id + 1;
        let tasks = with_instances(draft.store(), &stored).await?;
        let verdicts = screen.near_duplicates(&submissions(&stored, &tasks));
        for (stored, verdict) in stored.iter().zip(verdicts) {
            match (verdict.is_accepted(), stored.review) {
                (true, _) => {}
                (false, Review::Accepted) => input.kept_by_people += 1,
                (false, _) => reasons.push((stored.id, why(&verdict, threshold, &input.file))),
            }
        }
    }
}

/// Keeps these tasks, for the datasets after theirs to be compared with.
async fn keep(
    draft: &MergedDraft,
    screen: &mut Screen,
    ids: std::ops::RangeInclusive<i64>,
    bar: &mut ProgressMeter,
) -> Result<()> {
    let mut from = *ids.start();
    loop {
        let stored = draft.unrejected(from, *ids.end(), BATCH).await?;
        let Some(last) = stored.last() else {
            return Ok(());
        };
        from = last.id + 1;
        let tasks = with_instances(draft.store(), &stored).await?;
        screen.verdicts(&submissions(&stored, &tasks));
        bar.set(last.id as u64, "");
    }
}

/// Tasks to compare, all of which stay whatever they are compared with.
fn submissions<'a>(stored: &[PoolTask], tasks: &'a [Task]) -> Vec<Submission<'a>> {
    let submission = |(stored, task): (&PoolTask, &'a Task)| Submission {
        task_ref: TaskRef::Stored(stored.id),
        task,
        is_certain: true,
    };
    stored.iter().zip(tasks).map(submission).collect()
}

/// The note of a rejection, which names the neighbor as `ewe filter` does.
fn why(verdict: &Verdict, threshold: Threshold, file: &str) -> String {
    let mut why = verdict
        .reason
        .map_or_else(String::new, |reason| reason.to_string());
    if let Some(nearest) = verdict.nearest {
        if let TaskRef::Stored(id) = nearest.task {
            why += &format!(" of task {id}");
        }
        if let Some(rouge_l) = nearest.rouge_l {
            why += &format!(" (ROUGE-L {rouge_l:.3} above {threshold})");
        }
    }
    format!("{why}; from `{file}`")
}

/// Records the merge as a run.
async fn record(store: &Store, config: &MergeDbConfig, merged: &MergedDb) -> Result<()> {
    let settings = serde_json::json!({
        "out": config.out.display().to_string(),
        "threshold": merged.threshold.to_string(),
        "inputs": serde_json::to_value(&merged.inputs)?,
    });
    let run = store.begin_run("merge-db", &settings, None, None).await?;
    store.finish_run(run, RunStatus::Done).await?;
    Ok(())
}
