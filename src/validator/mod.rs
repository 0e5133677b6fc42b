//! Validators: a program of the user's that accepts or rejects rows, with a reason.
//!
//! It gets each row as one line of JSON and answers with one line, `{"accept": false, "reason":
//! "…"}`. It is started once for each worker and keeps running; one that ends after a row is
//! started again. With [`ValidatorConfig::per_row`], it is started for every row, reads it to the
//! end of its input, and may also answer by its exit code. [`crate::limited`] says how it is
//! started.
//!
//! - [`process`]: one running program.
//! - [`pool`]: several of them, side by side.

pub mod pool;
mod process;

pub use pool::Validators;

use std::time::Duration;

/// A validator and its limits.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ValidatorConfig {
    /// The command line, for the shell.
    pub command: String,
    /// Whether it is started for each row.
    pub per_row: bool,
    /// The longest time for one row.
    #[serde(skip)]
    pub timeout: Duration,
    /// The most private memory of each of its processes, in bytes.
    #[serde(skip)]
    pub memory: u64,
    /// How many run side by side.
    #[serde(skip)]
    pub jobs: usize,
}

/// What a validator says of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It accepts it; the reason is often empty.
    Accepts(String),
    /// It rejects it, for this reason.
    Rejects(String),
    /// It could not say.
    Failed(String),
}

/// Characters of a reason that are kept.
const LONGEST_REASON: usize = 500;

/// Reads a line of a validator's.
///
/// # Errors
///
/// Quotes what is no verdict.
fn verdict(line: &str) -> Result<Said, String> {
    #[derive(serde::Deserialize)]
    struct Verdict {
        accept: bool,
        #[serde(default)]
        reason: Option<String>,
    }
    match serde_json::from_str::<Verdict>(line) {
        Ok(Verdict { accept, reason }) => {
            let reason = crate::text::one_line(&reason.unwrap_or_default(), LONGEST_REASON);
            Ok(match accept {
                true => Said::Accepts(reason),
                false => Said::Rejects(reason),
            })
        }
        Err(_) => Err(format!(
            "answered '{}', and not {{\"accept\": true}} or {{\"accept\": false, \"reason\": \"…\"}}",
            crate::text::one_line(line, 80)
        )),
    }
}
