//! Why a template cannot be parsed or rendered.

use std::fmt;

/// Result of everything in this room.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Kind of an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The template is malformed.
    Syntax,
    /// The template refuses its input with `raise_exception`.
    Refusal,
    /// A run-time error, which Python raises as well.
    Fault,
    /// The template exceeds the time or memory allowed to templates.
    Budget,
    /// Python computes this, ewe does not.
    Unsupported,
}

/// Why a template cannot be rendered, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Kind of the error.
    pub kind: ErrorKind,
    /// Description in one sentence.
    pub message: String,
    /// Line of the template, from 1; 0 if unknown.
    pub line: usize,
}

impl Error {
    fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error {
            kind,
            message: message.into(),
            line: 0,
        }
    }

    pub(super) fn syntax(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Syntax, message)
    }

    pub(super) fn refusal(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Refusal, message)
    }

    pub(super) fn fault(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Fault, message)
    }

    pub(super) fn budget(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Budget, message)
    }

    /// Says that `what` is not supported, although Python computes it.
    pub(super) fn unsupported(what: &str) -> Error {
        Error::new(ErrorKind::Unsupported, format!("{what} is not supported"))
    }

    /// Sets the line, unless a statement further inside has set it.
    pub(super) fn at(mut self, line: usize) -> Error {
        if self.line == 0 {
            self.line = line;
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match (self.kind, self.line) {
            (ErrorKind::Refusal, _) | (_, 0) => f.write_str(&self.message),
            (_, line) => write!(f, "line {line}: {}", self.message),
        }
    }
}

impl std::error::Error for Error {}
