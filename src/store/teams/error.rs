//! What can be wrong with reviewers, their opinions and comments.

use crate::text::{chosen, clean, counted, one_line};

/// How much of a name an error shows, in characters.
const SHOWN: usize = 60;

/// An error about reviewers.
#[derive(Debug, thiserror::Error)]
pub enum TeamError {
    /// A name cannot be that of a reviewer.
    #[error(
        "`{}` cannot be a reviewer's name: {what}\nhint: a name such as anna",
        one_line(name, SHOWN)
    )]
    Name {
        /// The name.
        name: String,
        /// The obstacle.
        what: &'static str,
    },
    /// Nobody of that name was ever assigned.
    #[error("nobody called `{}` is assigned{}\nhint: {}", one_line(name, SHOWN), match known.as_slice() {
        [] => String::new(),
        known => format!("; there are: {}", known.iter().map(|name| clean(name)).collect::<Vec<_>>().join(", ")),
    }, match known.as_slice() {
        [] => "`ewe assign --to NAME` assigns tasks",
        _ => "`ewe assign --to` assigns tasks to others",
    })]
    Nobody {
        /// The name.
        name: String,
        /// Those who are.
        known: Vec<String>,
    },
    /// The task is assigned to others, or to nobody.
    #[error(
        "task {id} is not assigned to {}\nhint: `ewe assign {id} --to {}` assigns it; without --as the decision is of no reviewer",
        clean(reviewer),
        clean(reviewer)
    )]
    NotAssigned {
        /// The task.
        id: i64,
        /// The reviewer.
        reviewer: String,
    },
    /// More reviewers for each task than were named.
    #[error(
        "{} for each task, and {}\nhint: `ewe assign --to A,B --each 2` names as many as each task is to have, or more",
        counted(*each as u64, "reviewer"),
        chosen(*names, "is named", "are named")
    )]
    TooFew {
        /// How many each task is to have.
        each: usize,
        /// How many were named.
        names: usize,
    },
    /// More reviewers than can be dealt to.
    #[error("{names} reviewers, more than {most}")]
    TooMany {
        /// How many were named.
        names: usize,
        /// How many there may be.
        most: usize,
    },
    /// A text beside a task cannot be kept.
    #[error("the {kind} {what}")]
    Text {
        /// `comment` or `note`.
        kind: &'static str,
        /// What is wrong with it.
        what: String,
    },
}
