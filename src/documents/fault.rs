//! Why a file cannot be read as a document.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a file gives no text. Its code goes into summaries, its text to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The kind of fault.
    pub kind: FaultKind,
    /// What exactly was found.
    pub detail: String,
}

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The file or folder cannot be opened.
    Unreadable,
    /// It is not in any format that is read.
    Unknown,
    /// It needs a password.
    Encrypted,
    /// It is not what its format says.
    Damaged,
    /// It, or what it unpacks to, is larger than allowed.
    TooLarge,
    /// Reading it takes more memory or time than allowed.
    OverLimit,
    /// All of its pages are pictures.
    Scanned,
    /// There is no text in it.
    Empty,
    /// A column that was asked for is not there.
    NoColumn,
}

impl FaultKind {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            FaultKind::Unreadable => "unreadable",
            FaultKind::Unknown => "unknown",
            FaultKind::Encrypted => "encrypted",
            FaultKind::Damaged => "damaged",
            FaultKind::TooLarge => "too_large",
            FaultKind::OverLimit => "over_limit",
            FaultKind::Scanned => "scanned",
            FaultKind::Empty => "empty",
            FaultKind::NoColumn => "no_column",
        }
    }

    /// The way out, where there is one.
    pub fn hint(self) -> Option<&'static str> {
        match self {
            FaultKind::Encrypted => Some("`qpdf` removes the password of a PDF"),
            FaultKind::TooLarge => Some("--largest allows more megabytes; or split the file"),
            FaultKind::OverLimit => {
                Some("`pdftotext IN OUT` may read it, and its text can be added; or split the file")
            }
            FaultKind::Scanned => Some("`ocrmypdf IN OUT` adds a text layer"),
            FaultKind::NoColumn => Some("--column names the column that has the text"),
            _ => None,
        }
    }
}

impl Fault {
    /// A fault with what was found.
    pub fn new(kind: FaultKind, detail: impl Into<String>) -> Fault {
        Fault {
            kind,
            detail: detail.into(),
        }
    }

    /// The file is not what its format says.
    pub fn damaged(detail: impl Into<String>) -> Fault {
        Fault::new(FaultKind::Damaged, detail)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.as_str().replace('_', " ");
        match self.detail.is_empty() {
            true => write!(f, "{kind}"),
            false => write!(f, "{kind}: {}", self.detail),
        }
    }
}

impl std::error::Error for Fault {}
