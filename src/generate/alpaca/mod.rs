//! Parses lists of complete tasks. No text is lost: every byte of a response belongs to an item of
//! the list or to a separator between items.
//!
//! - [`line`](mod@line): kinds of lines.
//! - [`numbered`]: lists with numbered labels.
//! - [`objects`]: JSON, complete or cut off.
//!
//! If a text is ambiguous, and one reading would cut a task short or merge two, the items on both
//! sides get a flaw: a missing task costs less than a wrong one.

mod line;
mod numbered;
mod objects;
#[cfg(test)]
mod tests;

pub use numbered::numbered;
pub use objects::objects;

use super::parse::Fault;
use crate::task::Instance;

/// An item of the list: a task, or text that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListItem<'a> {
    /// The text of the response, with labels.
    pub text: &'a str,
    /// The task, or why there is none.
    pub task: Result<ParsedTask, Flaw>,
}

/// A parsed task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedTask {
    /// The instruction, trimmed; never empty.
    pub instruction: String,
    /// Input and output, trimmed; the output is never empty.
    pub instance: Instance,
}

/// Why an item is not a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flaw {
    /// The kind of fault.
    pub fault: Fault,
    /// The details; empty where the fault says everything.
    pub found: &'static str,
}

impl Flaw {
    /// An item that does not have the form asked for.
    fn unparsed(found: &'static str) -> Flaw {
        Flaw {
            fault: Fault::Unparsed,
            found,
        }
    }

    /// The item in which the response was cut off.
    const TRUNCATED: Flaw = Flaw {
        fault: Fault::Truncated,
        found: "",
    };
}
