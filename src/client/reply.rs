//! The response of a server. OpenAI documents its form, and few servers follow it exactly.

mod choice;
mod document;
mod end;
mod logprobs;
mod parts;

use super::failure::{FailureKind, RequestFailure, TransientFailure};
use super::key::Secrets;
use super::wire::{error_message, excerpt};
use crate::backend::{Completion, FinishReason, Sampling};
use crate::choice::{self as words, ReportedToken};
use choice::ParsedChoice;
use document::Document;
pub use end::End;
use end::Meaning;
use serde_json::{Map, Value};

/// A response, parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The text, with any reasoning within it.
    pub text: String,
    /// Whether the response has a text, even an empty one.
    pub has_text: bool,
    /// The arguments of a tool call; empty if there is none.
    pub arguments: String,
    /// The reasoning in a field of its own.
    pub reasoning: String,
    /// Why the text is not an answer.
    pub refusal: Option<String>,
    /// How it ended.
    pub end: End,
    /// Tokens of the prompt; 0 if unknown.
    pub prompt_tokens: usize,
    /// Tokens of the answer; 0 if unknown.
    pub completion_tokens: usize,
    /// The tokens themselves with their logprobs, if the server tells.
    pub tokens: Option<Vec<ReportedToken>>,
}

/// Reads a response of either API, and of similar ones. Token counts that are missing or
/// implausible are 0.
///
/// # Errors
///
/// If there is no answer, or not a whole one.
pub fn read(body: &[u8]) -> Result<Reply, RequestFailure> {
    let unreadable =
        |error: String| RequestFailure::from(TransientFailure::new(FailureKind::Unreadable, error));
    let cannot = |error: &str| unreadable(format!("the server's answer cannot be read: {error}"));
    let document = Document::of(body).map_err(|error| cannot(&error))?;
    let roots: Vec<_> = document.values.iter().filter_map(choice::root).collect();
    let choices = roots.iter().filter_map(|root| choice::choice(root));
    let choices: Result<Vec<ParsedChoice>, _> = choices.map(|choice| ParsedChoice::of(&choice)).collect();
    let mut choices = choices.map_err(|what| cannot(&format!("its text is {what}")))?;
    if let Some(error) = document.values.iter().find_map(choice::error) {
        let words = excerpt(&error_message(&error.to_string()));
        return Err(unreadable(format!("the server answered with an error: {words}")));
    }
    let answer = match choices.len() {
        0 => return Err(unreadable("the server's answer has no choices".to_string())),
        1 => choices.remove(0),
        _ => choice::joined(choices),
    };
    let is_stream = document.is_stream || roots.len() > 1;
    if is_stream && answer.is_delta && answer.end.is_null() && !document.is_over {
        return Err(cannot("the stream that it came in ends before its end"));
    }
    if document.is_damaged && answer.parts.text.contains(char::REPLACEMENT_CHARACTER) {
        return Err(cannot("its text is no UTF-8"));
    }
    reply_of(answer, |names| tokens(&roots, names))
}

/// Returns a token count, by any of its names. The last one counts, since streams repeat it.
fn tokens(roots: &[&Map<String, Value>], names: &[&str]) -> usize {
    let count = |value: &Value| match value {
        Value::String(digits) => digits.parse().ok(),
        number => number.as_f64().filter(|count| count.fract() == 0.0),
    };
    let counts = roots.iter().flat_map(|root| {
        let places = [
            root.get("usage"),
            root.get("usageMetadata"),
            root.get("usage_metadata"),
        ];
        let of = |fields: &Value| names.iter().find_map(|name| count(fields.get(*name)?));
        let own = names.iter().find_map(|name| count(root.get(*name)?));
        places.into_iter().flatten().find_map(of).or(own)
    });
    let mut plausible = counts.filter(|count| (0.0..=f64::from(u32::MAX)).contains(count));
    plausible.next_back().unwrap_or(0.0) as usize
}

/// Makes a reply of a choice, and interprets its `finish_reason`.
fn reply_of(choice: ParsedChoice, tokens: impl Fn(&[&str]) -> usize) -> Result<Reply, RequestFailure> {
    let ParsedChoice {
        parts, end, logprobs, ..
    } = choice;
    let raw = match &end {
        Value::String(word) => word.clone(),
        other => other.to_string(),
    };
    let (end, held_back) = match Meaning::of(&end) {
        Meaning::End(end) => (end, None),
        Meaning::Unknown => (End::Unknown(raw), None),
        // From vLLM during shutdown, and from routers whose upstream failed.
        Meaning::GivenUp => {
            let error = format!(
                "the server gave up on its answer: finish_reason is '{}'",
                excerpt(&raw)
            );
            return Err(TransientFailure::new(FailureKind::Broken, error).into());
        }
        Meaning::HeldBack => (
            End::Stop,
            Some("the server's content filter held the answer back".to_string()),
        ),
        Meaning::Called if parts.text.trim().is_empty() => (
            End::Stop,
            Some("the model called a tool in place of an answer".to_string()),
        ),
        Meaning::Called => (End::Stop, None),
    };
    let refused = !parts.refusal.trim().is_empty();
    let refusal = refused.then(|| format!("the model refused: '{}'", excerpt(&parts.refusal)));
    Ok(Reply {
        text: parts.text,
        has_text: parts.has_text,
        arguments: parts.arguments,
        reasoning: parts.reasoning,
        refusal: refusal.or(held_back),
        end,
        prompt_tokens: tokens(&[
            "prompt_tokens",
            "input_tokens",
            "promptTokenCount",
            "prompt_eval_count",
        ]),
        completion_tokens: tokens(&[
            "completion_tokens",
            "output_tokens",
            "candidatesTokenCount",
            "eval_count",
        ]),
        tokens: logprobs,
    })
}

impl Reply {
    /// Returns the completion for a request with this sampling. If `finish_reason` is missing or
    /// unknown, the number of tokens decides whether the answer was cut. If that is unknown, too,
    /// an unknown reason means cut, since taking half an answer for a whole one is the worse
    /// mistake; but not if the answer has fewer bytes than tokens were allowed, since no token is
    /// shorter. No reason at all means not cut.
    ///
    /// Some services return JSON that a schema asked for as a tool call.
    pub fn completion(mut self, sampling: &Sampling) -> Completion {
        let (used, most) = (self.completion_tokens, sampling.max_tokens);
        if sampling.schema.is_some() && self.text.trim().is_empty() && !self.arguments.is_empty() {
            (self.text, self.refusal) = (std::mem::take(&mut self.arguments), None);
        }
        let is_cut = match self.end {
            End::Stop => false,
            End::Length => true,
            End::Unsaid => used > 0 && used >= most,
            End::Unknown(_) if used == 0 => self.text.len() + self.reasoning.len() >= most,
            End::Unknown(_) => used >= most,
        };
        let places = match sampling.choices.as_slice() {
            [] => None,
            wanted => self
                .tokens
                .as_ref()
                .map(|tokens| words::places(&self.text, tokens, wanted)),
        };
        Completion {
            places,
            text: self.text,
            finish_reason: if is_cut {
                FinishReason::Length
            } else {
                FinishReason::Stop
            },
            reasoning: self.reasoning,
            refusal: self.refusal,
            prompt_tokens: self.prompt_tokens,
            completion_tokens: used,
        }
    }

    /// Removes secrets.
    pub fn redacted(mut self, secrets: &Secrets) -> Reply {
        for text in [&mut self.text, &mut self.reasoning, &mut self.arguments]
            .into_iter()
            .chain(self.refusal.as_mut())
        {
            *text = secrets.redact_answer(text);
        }
        if let End::Unknown(word) = &mut self.end {
            *word = secrets.redact(word);
        }
        self
    }
}

#[cfg(test)]
mod tests;
