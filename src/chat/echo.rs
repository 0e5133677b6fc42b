//! The prompt as the beginning of an answer: its text, and with `logprobs` its tokens.

use ewe::text::{counted, format_error};

use super::error::ApiError;
use super::request::ChatRequest;
use crate::engine::text::TextStream;
use crate::model::text::tokenizer::Tokenizer;

/// The most logprobs of prompts in one response: of its tokens and of as many likely ones as the
/// request asks for. Each takes some 100 bytes of JSON and of memory.
const MOST_LOGPROBS: usize = 1 << 20;

/// What an answer begins with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Echo {
    /// The text of the prompt; empty without `echo`.
    pub text: String,
    /// The tokens of the prompt, each with the character of `text` that it begins at; empty unless
    /// their logprobs are asked for.
    pub tokens: Vec<(i64, usize)>,
}

impl Echo {
    /// Returns the echo of a text alone.
    pub fn of(text: String) -> Echo {
        Echo {
            text,
            tokens: Vec::new(),
        }
    }

    /// Adds the tokens of the prompt. A token without text, such as the one that begins a text, has
    /// the offset of the next.
    pub fn add_tokens(&mut self, tokenizer: &Tokenizer, ids: &[i64]) -> Result<(), ApiError> {
        let end = self.text.chars().count();
        let mut text = TextStream::after(tokenizer, &[], &[]);
        self.tokens.reserve(ids.len());
        for &id in ids {
            self.tokens.push((id, text.characters().min(end)));
            text.push(id)
                .map_err(|error| ApiError::parameter("prompt", format_error(&error)))?;
        }
        Ok(())
    }
}

/// Fails if the prompts, of `tokens` tokens together, would have too many logprobs.
pub fn check_logprobs(tokens: usize, request: &ChatRequest) -> Result<(), ApiError> {
    let each = request.options.logprobs.unwrap_or(0) + 1;
    let all = tokens.saturating_mul(each).saturating_mul(request.candidates);
    if all <= MOST_LOGPROBS {
        return Ok(());
    }
    Err(ApiError::parameter(
        "echo",
        format!(
            "`echo` with `logprobs` asks for {} of prompts, want at most {MOST_LOGPROBS}\nhint: fewer prompts in one request, or \
             a smaller `logprobs`",
            counted(all, "logprob")
        ),
    ))
}
