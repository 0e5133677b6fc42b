//! What a rank tells the `ewe` that started it when it fails. That process prints one error, the
//! cause, in place of one for each rank.

use std::fs::File;
use std::io::Write;
use std::os::fd::{FromRawFd, RawFd};

use serde::{Deserialize, Serialize};

/// The error of a rank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Whether it failed only because another rank did not go on.
    pub lost: bool,
    /// Its error with causes and hints, as it would have been printed.
    pub message: String,
}

/// The error of a rank that misses another one.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LostRank(pub String);

/// Returns whether an error is that another rank did not go on.
pub fn is_lost(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<LostRank>())
}

/// Writes a report to the descriptor that the process was started with, and closes it.
#[allow(unsafe_code)]
pub fn send(report: &Report, to: RawFd) {
    // SAFETY: the descriptor was opened for this process alone, and nothing else of it knows it.
    let mut file = unsafe { File::from_raw_fd(to) };
    // Without it, the other process tells the exit code.
    let _ = file.write_all(serde_json::to_string(report).unwrap_or_default().as_bytes());
}
