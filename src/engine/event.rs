//! What the engine reports about an answer.

use ewe::backend::{BackendError, FinishReason};

use super::logprobs::Logprobs;

/// Part of an answer: its prompt where it is asked for, any number of texts and tokens, one end.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The logprobs of the prompt's tokens from the second on, if the request asks for them. Comes
    /// first.
    Prompt(Vec<Logprobs>),
    /// More text. All texts of an answer, joined, are its whole text.
    Text(String),
    /// A token with its logprobs, if the request asks for them. Comes before the text that it
    /// completes. Tokens of stop strings are reported, end tokens are not.
    Token {
        /// Its logprobs.
        logprobs: Logprobs,
        /// Where its text begins, in characters of the answer; beyond the answer's end if it
        /// belongs to a stop string.
        offset: usize,
    },
    /// The answer is complete.
    Done {
        /// Why it ended.
        finish_reason: FinishReason,
        /// Tokens generated, as in [`Completion`](ewe::backend::Completion).
        completion_tokens: usize,
    },
}

/// An event, or the error that ends the answer.
pub type EventResult = Result<Event, BackendError>;
