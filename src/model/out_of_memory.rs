//! Memory that ran out: one error type, which knows what the program was doing and prints a way
//! out.

use std::fmt::{self, Display};

use super::fault;

/// What the program was doing when memory ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reading weights, and what goes with them.
    Loading,
    /// Computing the keys and values of prompts.
    Prefill,
    /// Computing the next token of running requests.
    Decode,
    /// Forward and backward passes, updates and evaluations of a training run.
    Training,
}

impl Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Loading => "loading",
            Stage::Prefill => "prefill",
            Stage::Decode => "decode",
            Stage::Training => "training",
        })
    }
}

/// Memory of the machine or of its GPU ran out. Prints the allocator's words, then the hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutOfMemory {
    stage: Stage,
    reason: String,
    hint: Option<String>,
}

impl OutOfMemory {
    /// Returns the error if `reason` says that memory ran out. `hint` names the options that take
    /// less: which ones there are depends on the command.
    pub fn of(reason: &str, stage: Stage, hint: impl FnOnce() -> Option<String>) -> Option<OutOfMemory> {
        if !fault::is_out_of_memory(&reason) {
            return None;
        }
        let error = OutOfMemory {
            stage,
            reason: reason.to_owned(),
            hint: hint(),
        };
        tracing::debug!("memory ran out during {}", error.stage);
        Some(error)
    }

    /// Returns the allocator's words.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for OutOfMemory {}

/// Makes an [`OutOfMemory`] of an error that says that memory ran out. Returns other errors, and
/// those that are one already, as they are.
pub fn explained(error: anyhow::Error, stage: Stage, hint: impl FnOnce() -> Option<String>) -> anyhow::Error {
    if error.is::<OutOfMemory>() {
        return error;
    }
    match OutOfMemory::of(&format!("{error:#}"), stage, hint) {
        Some(explained) => explained.into(),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn the_hint_follows_the_words_of_the_allocator_once() {
        let hint = || Some("a smaller --batch".to_owned());
        let error = anyhow!("libtorch: CUDA out of memory").context("step 3");
        let error = explained(error, Stage::Training, hint);
        let text = "step 3: libtorch: CUDA out of memory\nhint: a smaller --batch";
        assert_eq!(error.to_string(), text);
        let again = explained(error, Stage::Loading, || panic!("it has a hint"));
        assert_eq!(again.to_string(), text);
        assert_eq!(
            again.downcast_ref::<OutOfMemory>().unwrap().stage,
            Stage::Training
        );
        let other = explained(anyhow!("shape '[5]' is invalid"), Stage::Decode, hint);
        assert!(other.downcast_ref::<OutOfMemory>().is_none());
        assert_eq!(other.to_string(), "shape '[5]' is invalid");
    }
}
