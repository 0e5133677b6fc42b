//! Why a template renders nothing.

use std::fmt;

/// What kind of fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The template is malformed.
    Syntax,
    /// The template refuses what it is given: `raise_exception`.
    Refusal,
    /// What it does is an error in Python, too.
    Fault,
    /// It takes more time or memory than a template may.
    Budget,
    /// The reference computes it, this program does not.
    Unsupported,
}

/// Why a template renders nothing, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What kind of fault it is.
    pub kind: Kind,
    /// In a sentence.
    pub message: String,
    /// Of the template, from 1; 0 where it is not known.
    pub line: usize,
}

impl Error {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error {
            kind,
            message: message.into(),
            line: 0,
        }
    }

    pub(super) fn fault(message: impl Into<String>) -> Error {
        Error::new(Kind::Fault, message)
    }

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
            (Kind::Refusal, _) | (_, 0) => f.write_str(&self.message),
            (_, line) => write!(f, "line {line}: {}", self.message),
        }
    }
}

impl std::error::Error for Error {}
