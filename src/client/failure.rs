//! Why an attempt got no response, and whether the endpoint or the request is to blame.

use crate::backend::BackendError;
use std::time::Duration;

/// Why an attempt failed.
#[derive(Debug)]
pub enum RequestFailure {
    /// Another attempt may succeed.
    Transient(TransientFailure),
    /// No other attempt can succeed.
    Permanent(BackendError),
}

/// A failure after which another attempt may succeed.
#[derive(Debug)]
pub struct TransientFailure {
    /// What went wrong, in the server's words if it sent any.
    pub error: String,
    /// The kind of failure.
    pub kind: FailureKind,
    /// How long the server asks to be left alone.
    pub retry_after: Option<Duration>,
}

/// A kind of transient failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The server is overloaded: status 429 or 503, or any failure with `Retry-After`.
    Busy,
    /// No connection could be made.
    Unreachable,
    /// The server failed, was too slow, or closed the connection too early.
    Broken,
    /// The response is not a whole answer.
    Unreadable,
}

impl TransientFailure {
    /// A failure without `Retry-After`.
    pub fn new(kind: FailureKind, error: String) -> Self {
        TransientFailure {
            error,
            kind,
            retry_after: None,
        }
    }

    /// Whether the endpoint may be overloaded.
    pub fn is_overload(&self) -> bool {
        self.kind != FailureKind::Unreadable
    }

    /// Whether any other request would have failed, too.
    pub fn is_the_endpoint_s(&self) -> bool {
        matches!(self.kind, FailureKind::Busy | FailureKind::Unreachable)
    }
}

impl From<TransientFailure> for RequestFailure {
    fn from(transient: TransientFailure) -> Self {
        RequestFailure::Transient(transient)
    }
}
