//! What comes back, in the dialects that servers speak: OpenAI documents one, and few speak exactly
//! that.

mod choice;
mod document;
mod end;
mod parts;

use super::failure::{Failure, Kind, Passing};
use super::key::Secrets;
use super::wire::{error_message, excerpt};
use crate::backend::{Completion, FinishReason, Sampling};
use choice::Said;
use document::Document;
pub use end::End;
use end::Meaning;
use serde_json::{Map, Value};

/// A model's answer as the server handed it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The text, reasoning within it included.
    pub text: String,
    /// Whether there was a text at all, if only an empty one.
    pub has_text: bool,
    /// What a tool was called with; empty where none was.
    pub arguments: String,
    /// Reasoning that stood in a field of its own.
    pub reasoning: String,
    /// Why the text is no answer.
    pub refusal: Option<String>,
    /// How it ended.
    pub end: End,
    /// Tokens of the prompt; 0 where nobody says.
    pub prompt_tokens: usize,
    /// Tokens of the answer; 0 where nobody says.
    pub completion_tokens: usize,
}

/// Reads an answer of either dialect, and of those that come close. What `usage` does not say, or
/// says as anything but a plausible count, is 0 tokens.
///
/// # Errors
///
/// Why there is no answer, or no whole one.
pub fn read(body: &[u8]) -> Result<Reply, Failure> {
    let unreadable = |error: String| Failure::from(Passing::new(Kind::Unreadable, error));
    let cannot = |error: &str| unreadable(format!("the server's answer cannot be read: {error}"));
    let document = Document::of(body).map_err(|error| cannot(&error))?;
    let roots: Vec<_> = document.values.iter().filter_map(choice::root).collect();
    let pieces = roots.iter().filter_map(|root| choice::choice(root));
    let pieces: Result<Vec<Said>, _> = pieces.map(|choice| Said::of(&choice)).collect();
    let mut pieces = pieces.map_err(|what| cannot(&format!("its text is {what}")))?;
    if let Some(error) = document.values.iter().find_map(choice::error) {
        let words = excerpt(&error_message(&error.to_string()));
        return Err(unreadable(format!("the server answered with an error: {words}")));
    }
    let said = match pieces.len() {
        0 => return Err(unreadable("the server's answer has no choices".to_string())),
        1 => pieces.remove(0),
        _ => choice::joined(pieces),
    };
    let is_stream = document.is_stream || roots.len() > 1;
    if is_stream && said.is_piece && said.end.is_null() && !document.is_over {
        return Err(cannot("the stream that it came in ends before its end"));
    }
    if document.is_damaged && said.parts.text.contains(char::REPLACEMENT_CHARACTER) {
        return Err(cannot("its text is no UTF-8"));
    }
    told(said, |names| tokens(&roots, names))
}

/// A count of tokens, by the names that it may have; the last that is told, since streams tell it
/// again and again.
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

/// What was said, with what its end means.
fn told(said: Said, tokens: impl Fn(&[&str]) -> usize) -> Result<Reply, Failure> {
    let Said { parts, end, .. } = said;
    let raw = match &end {
        Value::String(word) => word.clone(),
        other => other.to_string(),
    };
    let (end, held_back) = match Meaning::of(&end) {
        Meaning::End(end) => (end, None),
        Meaning::Unknown => (End::Unknown(raw), None),
        // vLLM on its way down, and routers whose upstream failed.
        Meaning::GivenUp => {
            let error = format!(
                "the server gave up on its answer: finish_reason is '{}'",
                excerpt(&raw)
            );
            return Err(Passing::new(Kind::Broken, error).into());
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
    })
}

impl Reply {
    /// The answer to a request with this sampling. Where the server does not say how it ended, or
    /// says a word that nobody knows, the number of tokens decides; where that is not known either,
    /// an unknown word is a cut, since taking half an answer for a whole one is the worse mistake,
    /// unless the answer has fewer bytes than tokens were allowed: no token is shorter. No word at
    /// all is the end of the text.
    ///
    /// Where the text was to be JSON, some services call a tool with it.
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
        Completion {
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

    /// The reply without what nobody may see.
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
