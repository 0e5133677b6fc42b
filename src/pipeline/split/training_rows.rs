//! The rows of a dataset that a run trains on, and those that it is evaluated on.

use std::collections::HashSet;
use std::fmt;

use anyhow::{Result, bail};

use super::similar::near;
use crate::store::{DatasetRow, Filter, Position, Sort, Store};
use crate::task::{Review, Split};
use crate::text::chosen;

/// Both sides of a dataset, each in order of task and instance.
#[derive(Debug)]
pub struct TrainingRows {
    /// Rows to train on.
    pub train: Vec<DatasetRow>,
    /// Rows of all tasks that are held out, whatever was chosen: what several runs are evaluated on
    /// is the same.
    pub held_out: Vec<DatasetRow>,
    /// What was taken.
    pub taken: Taken,
}

/// Numbers of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Taken {
    /// Rows of accepted tasks to train on.
    pub accepted: usize,
    /// Rows of pending tasks to train on.
    pub unreviewed: usize,
    /// All rows of the dataset, in which rejected tasks are not.
    pub of: usize,
    /// Rows of tasks that are held out.
    pub held_out: usize,
    /// Rows that were chosen, and left out since their task reads like one that is held out.
    pub near_held_out: usize,
}

impl fmt::Display for Taken {
    /// `49 accepted + 3 unreviewed of 60; 5 held out, 3 near-duplicates of held-out tasks left out`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.accepted, self.unreviewed) {
            (0, 0) => write!(f, "none of {}", self.of)?,
            (accepted, 0) => write!(f, "{accepted} accepted of {}", self.of)?,
            (0, unreviewed) => write!(f, "{unreviewed} unreviewed of {}", self.of)?,
            (accepted, unreviewed) => {
                write!(f, "{accepted} accepted + {unreviewed} unreviewed of {}", self.of)?;
            }
        }
        let near = chosen(
            self.near_held_out,
            "near-duplicate of held-out tasks left out",
            "near-duplicates of held-out tasks left out",
        );
        match (self.held_out, self.near_held_out) {
            (0, _) => Ok(()),
            (held_out, 0) => write!(f, "; {held_out} held out"),
            (held_out, _) => write!(f, "; {held_out} held out, {near}"),
        }
    }
}

/// Reads the rows of tasks that pass `filter`, without rejected and held-out tasks and without
/// those that read like a held-out one.
///
/// # Errors
///
/// If the filter asks for tasks that are never trained on, or nothing is left.
pub async fn load(store: &Store, filter: &Filter) -> Result<TrainingRows> {
    if filter.review == Some(Review::Rejected) {
        bail!(
            "rejected tasks are not in the dataset, and never trained on\nhint: `ewe accept` takes them in"
        );
    }
    if filter.split == Some(Split::Eval) {
        bail!(
            "held-out tasks are never trained on\nhint: `ewe split --clear` makes them ordinary tasks again"
        );
    }
    let rows = store.dataset(None).await?;
    let held_out: HashSet<i64> = store.held_out().await?.into_iter().collect();
    let of = rows.len();
    let (held_out, mut train): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|row| held_out.contains(&row.task_id));
    if !filter.is_empty() {
        let filter = Filter {
            split: Some(Split::Train),
            in_dataset: true,
            ..filter.clone()
        };
        let ids = store.ids(&filter, Sort::Id, Position::Start, i64::MAX).await?;
        let ids: HashSet<i64> = ids.into_iter().collect();
        train.retain(|row| ids.contains(&row.task_id));
    }
    let chosen = train.len();
    let near = near(&held_out, &train);
    train.retain(|row| !near.contains(&row.task_id));
    let accepted = train.iter().filter(|row| row.review == Review::Accepted).count();
    let taken = Taken {
        accepted,
        unreviewed: train.len() - accepted,
        of,
        held_out: held_out.len(),
        near_held_out: chosen - train.len(),
    };
    if train.is_empty() && of > 0 {
        bail!(
            "no row is left to train on: {taken}\nhint: `ewe list` with the same options shows what they choose"
        );
    }
    Ok(TrainingRows {
        train,
        held_out,
        taken,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_one_sentence() {
        let of = |accepted, unreviewed, held_out, near_held_out| {
            let taken = Taken {
                accepted,
                unreviewed,
                of: 60,
                held_out,
                near_held_out,
            };
            taken.to_string()
        };
        assert_eq!(
            of(49, 3, 5, 3),
            "49 accepted + 3 unreviewed of 60; 5 held out, 3 near-duplicates of held-out tasks left out"
        );
        assert_eq!(
            of(0, 54, 5, 1),
            "54 unreviewed of 60; 5 held out, 1 near-duplicate of held-out tasks left out"
        );
        assert_eq!(
            (of(60, 0, 0, 0), of(0, 0, 2, 0)),
            (
                "60 accepted of 60".to_owned(),
                "none of 60; 2 held out".to_owned()
            )
        );
    }
}
