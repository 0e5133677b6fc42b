//! Lists of complete tasks, as a model writes them, into tasks. Nothing is lost: every byte of an answer belongs to a
//! task, to a piece with a flaw, or to what stands between them.
//!
//! - [`line`](mod@line): what a line may be.
//! - [`numbered`]: lists with numbered labels.
//! - [`objects`]: JSON, whole or cut.
//!
//! Where an answer can be read in two ways, and one of them would cut a task short or run two into one, the pieces on both
//! sides have a flaw: a task too few costs less than a wrong one.

mod line;
mod numbered;
mod objects;
#[cfg(test)]
mod tests;

pub use numbered::numbered;
pub use objects::objects;

use super::parse::Fault;
use crate::task::Instance;

/// A task of an answer, or a piece that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece<'a> {
    /// As it stands in the answer, with its labels.
    pub text: &'a str,
    /// What it says.
    pub task: Result<ParsedTask, Flaw>,
}

/// What a task says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedTask {
    /// Trimmed, and never empty.
    pub instruction: String,
    /// Both texts trimmed; the output is never empty.
    pub instance: Instance,
}

/// Why a piece is no task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flaw {
    /// The reason.
    pub fault: Fault,
    /// A line about it; empty where the reason says everything.
    pub found: &'static str,
}

impl Flaw {
    /// A piece without the form that was asked for.
    fn unparsed(found: &'static str) -> Flaw {
        Flaw {
            fault: Fault::Unparsed,
            found,
        }
    }

    /// The piece in which the answer was cut off.
    const TRUNCATED: Flaw = Flaw {
        fault: Fault::Truncated,
        found: "",
    };
}
