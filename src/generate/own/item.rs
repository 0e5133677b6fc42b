//! Parts of an answer.

use crate::generate::parse::Fault;
use serde_json::{Map, Value};

/// The field of parsers that have one.
pub const TEXT: &str = "text";

/// A part of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The text of the answer.
    pub text: String,
    /// Its fields, or why it cannot be used.
    pub fields: Result<Map<String, Value>, Flaw>,
}

/// Why a part of an answer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The kind of fault.
    pub fault: Fault,
    /// The details; empty where the fault says everything.
    pub found: String,
}

impl Flaw {
    /// A part that does not have the form asked for.
    pub fn unparsed(found: impl Into<String>) -> Flaw {
        Flaw {
            fault: Fault::Unparsed,
            found: found.into(),
        }
    }

    /// The part in which the answer was cut off.
    pub fn truncated() -> Flaw {
        Flaw {
            fault: Fault::Truncated,
            found: String::new(),
        }
    }
}

impl Item {
    /// A part with a single field, its text.
    pub fn of_text(text: &str) -> Item {
        let text = text.trim().to_string();
        let fields = Map::from_iter([(TEXT.to_string(), Value::from(text.as_str()))]);
        Item {
            text,
            fields: Ok(fields),
        }
    }

    /// A part with a flaw.
    pub fn flawed(text: &str, flaw: Flaw) -> Item {
        Item {
            text: text.trim().to_string(),
            fields: Err(flaw),
        }
    }
}
