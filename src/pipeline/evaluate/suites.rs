//! Reads the suites of a job.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use super::contamination::sides;
use crate::backend::Question;
use crate::interchange::Need;
use crate::job::eval::EvalJob;
use crate::job::rows::RowsFile;
use crate::store::{DatasetRow, Store};
use crate::suite::checks;
use crate::suite::ifeval::{self, PunktParameters};
use crate::suite::instructions;
use crate::suite::item::{Item, Suite, SuiteKind, SuiteSpec, Test};
use crate::suite::superni::{self, SuperniSettings};

/// Reads all suites, before any model is opened.
///
/// # Errors
///
/// If a suite cannot be read or has no items; the error names its file and what was expected.
pub async fn read(job: &EvalJob, store: &Store, quiet: bool) -> Result<Vec<Suite>> {
    let punkt = Arc::new(punkt(job)?);
    let mut suites = Vec::new();
    for (at, spec) in job.suites.iter().enumerate() {
        if job.suites[..at].contains(spec) {
            bail!("the suite {spec} is given twice\nhint: leave one of them away");
        }
        suites.push(read_one(job, store, spec, &punkt, quiet).await?);
    }
    Ok(suites)
}

/// Returns the parameters by which answers to IFEval are split into sentences.
fn punkt(job: &EvalJob) -> Result<PunktParameters> {
    let Some(dir) = &job.punkt else {
        return Ok(PunktParameters::english());
    };
    if job.suites.iter().all(|spec| spec.kind != SuiteKind::Ifeval) {
        bail!("--punkt is for answers to the suite ifeval\nhint: --suite ifeval=FILE, or leave it away");
    }
    PunktParameters::read(dir)
}

async fn read_one(
    job: &EvalJob,
    store: &Store,
    spec: &SuiteSpec,
    punkt: &Arc<PunktParameters>,
    quiet: bool,
) -> Result<Suite> {
    let of_kind = job.suites.iter().filter(|other| other.kind == spec.kind).count();
    let name = match of_kind {
        1 => spec.kind.as_str().to_owned(),
        _ => spec.to_string(),
    };
    let mut left_out = Vec::new();
    let items = match spec.kind {
        SuiteKind::Superni => {
            let settings = SuperniSettings {
                examples: job.superni_examples,
                instances: job.superni_instances,
                seed: job.seed,
            };
            let (items, without) = superni::read(&spec.source, settings)?;
            left_out = without;
            items
        }
        SuiteKind::Instructions => instructions::of_file(&rows(job, spec), quiet)?,
        SuiteKind::Ifeval => ifeval_items(spec, punkt)?,
        SuiteKind::HeldOut if job.db.is_none() => {
            bail!("held-out tasks are those of a dataset\nhint: --db FILE names it")
        }
        SuiteKind::HeldOut => held_out(store).await?,
        SuiteKind::Checks => check_items(job, spec)?,
    };
    let mut suite = Suite {
        spec: spec.clone(),
        name,
        items: unique(items),
        left_out,
    };
    if let Some(most) = job.limit {
        limit(&mut suite.items, most.min(usize::MAX as u64) as usize);
    }
    Ok(suite)
}

/// The file of a suite, whose rows need no answers.
fn rows(job: &EvalJob, spec: &SuiteSpec) -> RowsFile {
    let mut file = job.rows(spec.source.clone());
    file.reading.need = Need::Instruction;
    file
}

/// Keeps `most` items, one of each group in turn, in their order: the first items alone would be of
/// a few tasks.
fn limit(items: &mut Vec<Item>, most: usize) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut ranks: Vec<(usize, usize)> = items
        .iter()
        .enumerate()
        .map(|(at, item)| {
            let before = seen.entry(item.group.clone()).or_insert(0);
            *before += 1;
            (*before, at)
        })
        .collect();
    ranks.sort_unstable();
    ranks.truncate(most);
    let mut kept = vec![false; items.len()];
    ranks.iter().for_each(|(_, at)| kept[*at] = true);
    let mut kept = kept.into_iter();
    items.retain(|_| kept.next().unwrap_or(false));
}

/// Gives items with the same key different ones.
fn unique(mut items: Vec<Item>) -> Vec<Item> {
    let mut used: HashSet<String> = items.iter().map(|item| item.key.clone()).collect();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for item in &mut items {
        let times = seen.entry(item.key.clone()).or_insert(0);
        *times += 1;
        while *times > 1 {
            let key = format!("{} ({times})", item.key);
            if used.insert(key.clone()) {
                item.key = key;
                break;
            }
            *times += 1;
        }
    }
    items
}

fn ifeval_items(spec: &SuiteSpec, punkt: &Arc<PunktParameters>) -> Result<Vec<Item>> {
    let rows = ifeval::read(&spec.source, punkt).with_context(|| wrong_layout(spec))?;
    let item = |row: ifeval::IfevalRow| Item {
        test: Test::Ifeval(Box::new(row.clone())),
        ..Item::of_row(row.key.clone(), row.key.clone(), row.question(), Vec::new())
    };
    Ok(rows.into_iter().map(item).collect())
}

fn check_items(job: &EvalJob, spec: &SuiteSpec) -> Result<Vec<Item>> {
    let rows = checks::read(&spec.source, &job.reading, job.programs).with_context(|| wrong_layout(spec))?;
    let item = |row: checks::CheckRow| Item {
        test: Test::Checks(Box::new(row.clone())),
        ..Item::of_row(
            row.key.clone(),
            row.key.clone(),
            row.question.clone(),
            row.references.clone(),
        )
    };
    Ok(rows.into_iter().map(item).collect())
}

/// Names the suite in an error of its file.
fn wrong_layout(spec: &SuiteSpec) -> String {
    format!("suite {}", spec.kind.as_str())
}

/// The instances of the held-out tasks.
async fn held_out(store: &Store) -> Result<Vec<Item>> {
    let (held_out, _) = sides(store).await?;
    if held_out.is_empty() {
        bail!(
            "{}: no task is held out\nhint: `ewe split --db {0} --eval 10%` holds some out",
            store.path().display()
        );
    }
    Ok(held_out.into_iter().map(held_out_item).collect())
}

fn held_out_item(row: DatasetRow) -> Item {
    let question = Question {
        system: row.system.unwrap_or_default(),
        instruction: row.instruction,
        input: row.input,
    };
    let group = format!("task {}", row.task_id);
    let key = format!("{group}, instance {}", row.instance_id);
    let category = if row.is_classification {
        "classification"
    } else {
        "other"
    };
    Item {
        task_id: Some(row.task_id),
        category: Some(category.to_owned()),
        ..Item::of_row(key, group, question, vec![row.output.trim().to_owned()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(groups: &[&str]) -> Vec<Item> {
        let item = |group: &&str| Item::of_row((*group).into(), (*group).into(), Question::new("q"), vec![]);
        groups.iter().map(item).collect()
    }

    #[test]
    fn a_limit_takes_some_of_every_group_and_keys_are_unique() {
        let mut some = unique(items(&["a", "a", "a", "b", "b", "c"]));
        limit(&mut some, 4);
        let keys: Vec<&str> = some.iter().map(|item| item.key.as_str()).collect();
        assert_eq!(keys, ["a", "a (2)", "b", "c"]);
        let keys = unique(items(&["a", "a (2)", "a"]))
            .into_iter()
            .map(|item| item.key);
        assert_eq!(keys.collect::<Vec<_>>(), ["a", "a (2)", "a (3)"]);
    }
}
