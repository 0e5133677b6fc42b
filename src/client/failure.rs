//! Why a try brought no answer, and what that says about the endpoint and about the request.

use crate::backend::BackendError;
use std::time::Duration;

/// Whether trying again can help.
#[derive(Debug)]
pub enum Failure {
    /// It can.
    Passing(Passing),
    /// It cannot.
    Final(BackendError),
}

/// A failure that may pass.
#[derive(Debug)]
pub struct Passing {
    /// What went wrong, in the server's words where it had any.
    pub error: String,
    /// What kind of failure it is.
    pub kind: Kind,
    /// How long the server wants not to be asked.
    pub retry_after: Option<Duration>,
}

/// Kinds of failures that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The server says that it has too much to do: 429, 503, or any failure with `Retry-After`.
    Busy,
    /// No connection came about.
    Unreachable,
    /// The server failed, was too slow, or hung up before the end.
    Broken,
    /// What came is no whole answer.
    Unreadable,
}

impl Passing {
    /// With no wish of the server's.
    pub fn new(kind: Kind, error: String) -> Self {
        Passing {
            error,
            kind,
            retry_after: None,
        }
    }

    /// Whether the endpoint may have too much to do.
    pub fn is_overload(&self) -> bool {
        self.kind != Kind::Unreadable
    }

    /// Whether it would have happened to any other request too.
    pub fn is_the_endpoint_s(&self) -> bool {
        matches!(self.kind, Kind::Busy | Kind::Unreachable)
    }
}

impl From<Passing> for Failure {
    fn from(passing: Passing) -> Self {
        Failure::Passing(passing)
    }
}
