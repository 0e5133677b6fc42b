//! Tasks as plain data: the values that stages exchange. This file imports nothing of ours.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// One pair of input and output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Instance {
    /// What the instruction is applied to; empty where the instruction says everything.
    pub input: String,
    /// The right answer.
    pub output: String,
}

/// An instruction with its instances.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// A short name for people, such as `ticket_routing`; of a Dolly row, its category.
    pub name: Option<String>,
    /// What is to be done.
    pub instruction: String,
    /// At least one for a task that is trained on; an instruction without any stays out of the dataset.
    pub instances: Vec<Instance>,
    /// Whether the answer is one of a few labels.
    pub is_classification: bool,
}

/// Where a task came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Written by an expert; what generation starts from.
    Seed,
    /// Written by a model and let through by the filter.
    Machine,
    /// Read from a file in one of the field's formats.
    Import,
}

/// What people think of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Review {
    /// Nobody has looked yet. The task is in the dataset.
    Pending,
    /// Somebody wants it in the dataset.
    Accepted,
    /// Somebody wants it out of the dataset. The row stays.
    Rejected,
}

impl Origin {
    /// All of them, in the order of the walk.
    pub const ALL: [Origin; 3] = [Origin::Seed, Origin::Machine, Origin::Import];

    /// The word in the database, in JSON and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Seed => "seed",
            Origin::Machine => "machine",
            Origin::Import => "import",
        }
    }
}

impl Review {
    /// All of them.
    pub const ALL: [Review; 3] = [Review::Pending, Review::Accepted, Review::Rejected];

    /// The word in the database, in JSON and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Review::Pending => "pending",
            Review::Accepted => "accepted",
            Review::Rejected => "rejected",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Review {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Origin::ALL
            .into_iter()
            .find(|origin| origin.as_str() == word)
            .ok_or_else(|| format!("unknown origin `{word}`: one of seed, machine, import"))
    }
}

impl FromStr for Review {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Review::ALL
            .into_iter()
            .find(|review| review.as_str() == word)
            .ok_or_else(|| format!("unknown review `{word}`: one of pending, accepted, rejected"))
    }
}
