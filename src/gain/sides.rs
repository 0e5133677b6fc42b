//! The rows on both sides of the split, and digests of them: what was computed from other rows is
//! computed again, or refused.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use sha2::{Digest, Sha256};

use super::job::GainJob;
use crate::pipeline::split::training_rows;
use crate::store::{DatasetRow, Filter, Store};
use crate::task::Origin;
use crate::text::hex;

/// The rows on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sides {
    /// The tasks that are held out, in order; none before a split.
    pub held_out: Vec<i64>,
    /// Digest of their rows.
    pub held_out_digest: String,
    /// Digest of all rows that may be trained on.
    pub training_digest: String,
    /// Digest of the choice among them.
    pub choice_digest: String,
    /// Whether any task is a seed.
    pub has_seeds: bool,
}

/// Reads both sides of the dataset.
///
/// # Errors
///
/// If the dataset has no rows, or the options choose none to train on.
pub async fn read(job: &GainJob) -> Result<Sides> {
    let store = Store::open(&job.db).await?;
    let sides = of(&store, &job.training.filter).await;
    store.close().await;
    sides
}

async fn of(store: &Store, chosen: &Filter) -> Result<Sides> {
    let all = training_rows::load(store, &Filter::default()).await?;
    if all.train.is_empty() {
        bail!(
            "{}: there is no task to train on\nhint: `ewe init` begins with seeds, `ewe generate` and `ewe import` add tasks",
            store.path().display()
        );
    }
    let chosen = training_rows::load(store, chosen).await?;
    let instances: Vec<i64> = chosen.train.iter().map(|row| row.instance_id).collect();
    let tasks: BTreeSet<i64> = all.held_out.iter().map(|row| row.task_id).collect();
    let is_seed = |row: &DatasetRow| row.origin == Origin::Seed;
    Ok(Sides {
        held_out: tasks.into_iter().collect(),
        held_out_digest: digest(all.held_out.iter().map(content)),
        training_digest: digest(all.train.iter().map(content)),
        choice_digest: digest(instances),
        has_seeds: all.train.iter().any(is_seed),
    })
}

/// What a model sees of a row, with its place in the dataset.
fn content(row: &DatasetRow) -> (i64, i64, [&str; 4]) {
    let system = row.system.as_deref().unwrap_or_default();
    (
        row.task_id,
        row.instance_id,
        [system, &row.instruction, &row.input, &row.output],
    )
}

/// A digest of values in order.
fn digest<T: serde::Serialize>(values: impl IntoIterator<Item = T>) -> String {
    let mut hash = Sha256::new();
    for value in values {
        hash.update(serde_json::to_vec(&value).expect("numbers and texts are JSON"));
        hash.update(b"\n");
    }
    hex(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_tell_texts_apart_wherever_they_are_cut() {
        assert_ne!(digest([("ab", "c")]), digest([("a", "bc")]));
        assert_ne!(digest([1, 23]), digest([12, 3]));
        assert_eq!(digest([1, 2]), digest(vec![1, 2]));
        assert_eq!(digest(Vec::<i64>::new()).len(), 64);
    }
}
