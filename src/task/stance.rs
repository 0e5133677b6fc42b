//! What a reviewer thinks of a task.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::Review;

/// A reviewer's opinion of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stance {
    /// It belongs into the dataset.
    Accepted,
    /// It does not.
    Rejected,
    /// Somebody else has to decide.
    Unsure,
}

impl Stance {
    /// All opinions.
    pub const ALL: [Stance; 3] = [Stance::Accepted, Stance::Rejected, Stance::Unsure];

    /// The opinion of somebody who would decide so; none for a decision that is not made.
    pub fn of(review: Review) -> Option<Stance> {
        match review {
            Review::Accepted => Some(Stance::Accepted),
            Review::Rejected => Some(Stance::Rejected),
            Review::Pending => None,
        }
    }

    /// The word in the database, in JSON and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Stance::Accepted => "accepted",
            Stance::Rejected => "rejected",
            Stance::Unsure => "unsure",
        }
    }
}

impl fmt::Display for Stance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Stance {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Stance::ALL
            .into_iter()
            .find(|stance| stance.as_str() == word)
            .ok_or_else(|| format!("unknown opinion `{word}`: one of accepted, rejected, unsure"))
    }
}
