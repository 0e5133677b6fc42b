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
    /// Rows that were chosen, and left out since they are the beginning of a conversation that is
    /// trained on.
    #[serde(skip_serializing_if = "is_zero")]
    pub beginnings: usize,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
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
            (0, _) => {}
            (held_out, 0) => write!(f, "; {held_out} held out")?,
            (held_out, _) => write!(f, "; {held_out} held out, {near}")?,
        }
        let beginnings = chosen(
            self.beginnings,
            "beginning of a conversation left out",
            "beginnings of conversations left out",
        );
        match self.beginnings {
            0 => Ok(()),
            _ => write!(f, "; {beginnings}"),
        }
    }
}

impl TrainingRows {
    /// Leaves out rows of a single turn with which a conversation begins that is trained on: where
    /// every answer is a target, that one has theirs, and it would count twice.
    pub fn without_beginnings(mut self) -> TrainingRows {
        let begun: HashSet<[String; 4]> = self
            .train
            .iter()
            .filter(|row| row.turns.is_some())
            .map(beginning)
            .collect();
        if begun.is_empty() {
            return self;
        }
        let before = self.train.len();
        self.train
            .retain(|row| row.turns.is_some() || !begun.contains(&beginning(row)));
        let accepted = self.train.iter().filter(|row| row.review == Review::Accepted);
        self.taken.accepted = accepted.count();
        self.taken.unreviewed = self.train.len() - self.taken.accepted;
        self.taken.beginnings = before - self.train.len();
        self
    }
}

/// The texts of the first question and answer.
fn beginning(row: &DatasetRow) -> [String; 4] {
    let system = row.system.as_deref().unwrap_or_default();
    [system, &row.instruction, &row.input, &row.output].map(|text| text.trim().to_owned())
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
        beginnings: 0,
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
    use crate::task::Origin;

    #[test]
    fn what_was_taken_is_one_sentence() {
        let of = |accepted, unreviewed, held_out, near_held_out| {
            let taken = Taken {
                accepted,
                unreviewed,
                of: 60,
                held_out,
                near_held_out,
                beginnings: 0,
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

    #[test]
    fn the_beginning_of_a_conversation_is_left_out() {
        let row = |task_id, output: &str, turns: Option<&str>| DatasetRow {
            task_id,
            instance_id: task_id,
            instruction: "q".to_owned(),
            input: String::new(),
            output: output.to_owned(),
            is_classification: false,
            origin: Origin::Machine,
            review: Review::Pending,
            run_id: None,
            created_at: String::new(),
            system: None,
            extra: None,
            turns: turns.map(str::to_owned),
        };
        let rows = TrainingRows {
            train: vec![row(1, "a", None), row(2, "b", None), row(3, "a", Some("[1]"))],
            held_out: Vec::new(),
            taken: Taken {
                accepted: 0,
                unreviewed: 3,
                of: 3,
                held_out: 0,
                near_held_out: 0,
                beginnings: 0,
            },
        };
        let left = rows.without_beginnings();
        let ids: Vec<i64> = left.train.iter().map(|row| row.task_id).collect();
        assert_eq!(ids, [2, 3]);
        assert_eq!(
            left.taken.to_string(),
            "2 unreviewed of 3; 1 beginning of a conversation left out"
        );
    }
}
