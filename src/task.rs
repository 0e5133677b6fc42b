//! The values that stages exchange: tasks, and verdicts on them. Nothing of ewe is imported here.

mod export;
mod field;
mod reason;
mod stance;
mod turn;
mod verdict;

pub use export::{ExportField, ExportRow, FieldColumn, OptionalFields};
pub use field::FieldType;
pub use reason::Reason;
pub use stance::Stance;
pub use turn::Turn;
pub use verdict::{Candidate, InstanceCandidate, Nearest, Opening, TaskRef, Verdict};

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// One pair of input and output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Instance {
    /// The text that the instruction applies to; empty where it needs none.
    pub input: String,
    /// The expected answer.
    pub output: String,
}

/// An instruction with its instances.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// A short name for people, such as `ticket_routing`; the category of a Dolly row.
    pub name: Option<String>,
    /// The text that says what to do.
    pub instruction: String,
    /// Inputs with their outputs. The dataset leaves out tasks without any.
    pub instances: Vec<Instance>,
    /// Whether the answer is one of a few labels.
    pub is_classification: bool,
    /// Later questions of its conversations as inputs, with their answers as outputs; only where
    /// somebody looks at them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub later: Vec<Instance>,
}

/// Where a task came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Written by an expert. Generation starts from these.
    Seed,
    /// Written by a model and accepted by the filter.
    Machine,
    /// Read from a file.
    Import,
}

/// A person's decision on a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Review {
    /// Nobody has decided yet. The task is in the dataset.
    Pending,
    /// The task is in the dataset.
    Accepted,
    /// The task is not in the dataset. Its row stays in the file.
    Rejected,
}

/// On which side of evaluation a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// It may be trained on, and shown in prompts.
    Train,
    /// It is held out: neither trained on nor shown in prompts that generate tasks.
    Eval,
}

impl Origin {
    /// All origins, in the order in which they enter a dataset.
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
    /// All decisions.
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

impl Split {
    /// Both sides.
    pub const ALL: [Split; 2] = [Split::Train, Split::Eval];

    /// The word in JSON and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Eval => "eval",
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

impl FromStr for Split {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Split::ALL
            .into_iter()
            .find(|split| split.as_str() == word)
            .ok_or_else(|| format!("unknown split `{word}`: one of train, eval"))
    }
}
