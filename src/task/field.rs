//! The types of fields that people add to tasks.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What the values of a field are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// Any text.
    Text,
    /// A finite number.
    Number,
    /// Yes or no.
    Flag,
    /// One of a few texts.
    Choice,
    /// Any number of short texts.
    Tags,
}

impl FieldType {
    /// All types.
    pub const ALL: [FieldType; 5] = [
        FieldType::Text,
        FieldType::Number,
        FieldType::Flag,
        FieldType::Choice,
        FieldType::Tags,
    ];

    /// The word in the database, in JSON and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            FieldType::Text => "text",
            FieldType::Number => "number",
            FieldType::Flag => "flag",
            FieldType::Choice => "choice",
            FieldType::Tags => "tags",
        }
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for FieldType {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        FieldType::ALL
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .ok_or_else(|| format!("unknown type `{word}`: one of text, number, flag, choice, tags"))
    }
}
