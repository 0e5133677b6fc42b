//! `ewe split`: sets tasks apart for evaluation.
//!
//! A task is held out as a whole, so that no two of its instances are on both sides. Which ones are
//! is a function of the seed and the tasks: each label of the classification tasks, and each origin
//! of the others, gives its share (stratified sampling). A task that is held out stays so, whatever
//! is asked for later; only what is missing is added.

pub mod similar;
pub mod training_rows;

use std::collections::{BTreeMap, HashSet};

use anyhow::{Result, bail};
use sha2::{Digest, Sha256};

use crate::fold::folded;
use crate::pipeline::progress;
use crate::store::curation::held_out::SplitTask;
use crate::store::query::amount::Amount;
use crate::store::query::filter::LONGEST_LABEL;
use crate::store::{DatasetRow, Filter, RunStatus, Store};
use crate::text::counted;

/// How to split.
#[derive(Debug, Clone)]
pub struct SplitConfig {
    /// How many of the tasks shall be held out in the end.
    pub amount: Amount,
    /// Decides which.
    pub seed: u64,
    /// The tasks that may be held out, and of which an [`Amount`] is a share.
    pub filter: Filter,
}

/// The result of a split.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SplitSummary {
    /// Tasks that were chosen among.
    pub tasks: usize,
    /// How many of them are held out now.
    pub held_out: usize,
    /// How many of those were not before.
    pub added: usize,
    /// Tasks of the dataset that remain for training.
    pub train: usize,
    /// Tasks that would remain, if they did not read like one that is held out.
    pub near_held_out: usize,
}

/// Holds out as many tasks as are missing, and records the run, unless none is.
///
/// # Errors
///
/// If no task passes the filter, or nothing would be left to train on.
pub async fn split(store: &Store, config: &SplitConfig) -> Result<SplitSummary> {
    let tasks = store.split_tasks(&config.filter).await?;
    if tasks.is_empty() {
        bail!(
            "{}: there is no such task\nhint: `ewe list` with the same options shows which there are",
            store.path().display()
        );
    }
    let before = tasks.iter().filter(|task| task.is_held_out).count();
    let chosen = choose(&tasks, config.amount.of(tasks.len()), config.seed);
    let rows = store.dataset(None).await?;
    let mut held_out: HashSet<i64> = store.held_out().await?.into_iter().collect();
    held_out.extend(&chosen);
    let (held_rows, rows): (Vec<DatasetRow>, Vec<DatasetRow>) =
        rows.into_iter().partition(|row| held_out.contains(&row.task_id));
    let near = similar::near(&held_rows, &rows).len();
    let left = tasks_of(&rows);
    if left == near {
        bail!(
            "{}: nothing would be left to train on: of {} in the dataset all would be held out, or read like one that is\n\
             hint: a smaller share",
            store.path().display(),
            counted(left + tasks_of(&held_rows), "task"),
        );
    }
    let summary = SplitSummary {
        tasks: tasks.len(),
        held_out: before + chosen.len(),
        added: chosen.len(),
        train: left - near,
        near_held_out: near,
    };
    if !chosen.is_empty() {
        let settings = serde_json::json!({
            "eval": config.amount.to_string(),
            "select": config.filter,
            "held_out": summary.held_out,
            "added": summary.added,
        });
        let run = store
            .begin_run("split", &settings, Some(config.seed as i64), None)
            .await?;
        let held = store.hold_out(&chosen, run).await;
        progress::finish(store, run, held, |()| RunStatus::Done).await?;
    }
    Ok(summary)
}

/// Holds no task out any more, and records the run, unless none was. Returns how many were.
pub async fn clear(store: &Store) -> Result<usize> {
    let held_out = store.held_out().await?;
    if !held_out.is_empty() {
        let settings = serde_json::json!({ "clear": true, "were_held_out": held_out });
        let run = store.begin_run("split", &settings, None, None).await?;
        let cleared = store.hold_out_none().await;
        progress::finish(store, run, cleared, |()| RunStatus::Done).await?;
    }
    Ok(held_out.len())
}

/// Returns the number of tasks that the rows are of.
fn tasks_of(rows: &[DatasetRow]) -> usize {
    rows.iter().map(|row| row.task_id).collect::<HashSet<_>>().len()
}

/// Chooses the tasks to add, so that `wanted` are held out.
///
/// Within its stratum of n tasks the task at place i, from 0, gets the number (i + u) / n, with one
/// u in [0, 1) for each stratum. Those with the smallest numbers are taken: each stratum gives its
/// share, rounded up or down, and of many small ones as many give a task as their share says.
fn choose(tasks: &[SplitTask], wanted: usize, seed: u64) -> Vec<i64> {
    let mut strata: BTreeMap<String, Vec<&SplitTask>> = BTreeMap::new();
    for task in tasks {
        strata.entry(stratum(task)).or_default().push(task);
    }
    let mut numbered: Vec<(f64, i64)> = Vec::new();
    for (name, mut members) in strata {
        // Those that are held out come first, so that they count for their stratum.
        members.sort_by_cached_key(|task| {
            let number = random(seed, "task", &task.id.to_string());
            (!task.is_held_out, number, task.id)
        });
        let first = random(seed, "stratum", &name) as f64 / 2f64.powi(64);
        let of = members.len() as f64;
        let places = (0u32..).zip(&members);
        let free = places.filter(|(_, task)| !task.is_held_out);
        numbered.extend(free.map(|(place, task)| ((f64::from(place) + first) / of, task.id)));
    }
    numbered.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let missing = wanted.saturating_sub(tasks.len() - numbered.len());
    let mut chosen: Vec<i64> = numbered.into_iter().take(missing).map(|(_, id)| id).collect();
    chosen.sort_unstable();
    chosen
}

/// Returns the stratum of a task: of a classification task its label, of another its origin.
fn stratum(task: &SplitTask) -> String {
    let is_label = task.output.chars().take(LONGEST_LABEL + 1).count() <= LONGEST_LABEL;
    match (task.is_classification, is_label) {
        (true, true) => format!("label {}", folded(task.output.trim()).collect::<String>()),
        (true, false) => "label".to_owned(),
        (false, _) => format!("origin {}", task.origin),
    }
}

/// Returns a number that is a function of its arguments: adding a task changes nothing for others.
fn random(seed: u64, purpose: &str, name: &str) -> u64 {
    let mut hash = Sha256::new();
    hash.update(b"ewe split");
    hash.update(seed.to_le_bytes());
    hash.update(purpose.as_bytes());
    hash.update([0]);
    hash.update(name.as_bytes());
    let digest = hash.finalize();
    u64::from_le_bytes(std::array::from_fn(|i| digest[i]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Origin;

    /// 60 seeds, 200 machine-made tasks, 30 labelled yes and 10 labelled no.
    fn tasks() -> Vec<SplitTask> {
        let task = |id: i64| SplitTask {
            id,
            origin: if id <= 60 { Origin::Seed } else { Origin::Machine },
            is_classification: id > 260,
            output: if id <= 290 { " Yes" } else { "no" }.to_owned(),
            is_held_out: false,
        };
        (1..=300).map(task).collect()
    }

    fn by_stratum(chosen: &[i64]) -> Vec<usize> {
        let of = |range: std::ops::RangeInclusive<i64>| chosen.iter().filter(|id| range.contains(id)).count();
        vec![of(1..=60), of(61..=260), of(261..=290), of(291..=300)]
    }

    #[test]
    fn each_stratum_gives_its_share() {
        for seed in 0..20 {
            let chosen = choose(&tasks(), 30, seed);
            assert_eq!(by_stratum(&chosen), [6, 20, 3, 1], "{seed}");
        }
        assert_ne!(choose(&tasks(), 30, 0), choose(&tasks(), 30, 1));
        // Of many strata with one task each, the seed decides.
        let mut own = tasks();
        for task in &mut own {
            (task.is_classification, task.output) = (true, task.id.to_string());
        }
        let [some, others] = [0, 1].map(|seed| choose(&own, 30, seed));
        assert_eq!((some.len(), others.len()), (30, 30));
        assert_ne!(some, others);
    }

    #[test]
    fn only_what_is_missing_is_added() {
        let mut tasks = tasks();
        let first = choose(&tasks, 30, 7);
        for task in &mut tasks {
            task.is_held_out = first.contains(&task.id);
        }
        assert!(choose(&tasks, 30, 7).is_empty() && choose(&tasks, 5, 8).is_empty());
        let more = choose(&tasks, 60, 8);
        assert_eq!(more.len(), 30);
        assert!(more.iter().all(|id| !first.contains(id)));
        let all: Vec<i64> = first.iter().chain(&more).copied().collect();
        assert_eq!(by_stratum(&all), [12, 40, 6, 2]);
    }

    #[test]
    fn a_growing_dataset_moves_nothing() {
        let few = choose(&tasks()[..200], 20, 3);
        let mut all = tasks();
        for task in &mut all {
            task.is_held_out = few.contains(&task.id);
        }
        let more = choose(&all, 30, 3);
        assert_eq!(more.len(), 10);
        assert_eq!(
            by_stratum(&[few, more].concat())[2..],
            [3, 1],
            "strata that are new get their share"
        );
    }
}
