//! Requests to a language model and its responses, as plain values, and the trait of a model.
//!
//! The OpenAI-compatible client and the local engine of `ewe-torch` both implement [`Backend`]; the
//! stages above do not know which of the two answers.

use crate::choice::ChoicePlace;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Sampling parameters. Names and meanings are those of OpenAI's completions endpoint; `top_k`,
/// `min_p` and `repetition_penalty` are as vLLM and `transformers` define them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// The most tokens to generate.
    pub max_tokens: usize,
    /// Divides the logits; 0 is greedy.
    pub temperature: f64,
    /// Sample from the smallest set of tokens whose probabilities add up to this (nucleus); 1
    /// switches it off.
    pub top_p: f64,
    /// Sample from the k likeliest tokens; 0 switches it off.
    pub top_k: usize,
    /// Sample from tokens at least this fraction as likely as the likeliest; 0 switches it off.
    pub min_p: f64,
    /// Subtracted from the logit of each token already generated.
    pub presence_penalty: f64,
    /// Subtracted from a token's logit once for each time it was generated.
    pub frequency_penalty: f64,
    /// Divides positive logits, and multiplies negative ones, of tokens in the prompt or the
    /// output; 1 switches it off (CTRL, Keskar et al. 2019).
    pub repetition_penalty: f64,
    /// Generation ends before the first of these strings, which is not part of the text.
    pub stop: Vec<String>,
    /// The random seed. The text is a function of prompt, parameters and seed.
    pub seed: u64,
    /// Whether to go on after an end-of-text token, as benchmarks do; vLLM's name. Serialized only
    /// if true, since content keys are older than this field.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_eos: bool,
    /// A JSON Schema (draft 2020-12) that the text must satisfy.
    /// Serialized only if there is one, since content keys are older than this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<serde_json::Value>,
    /// Words of which the answer names one: how likely each was in its place is wanted as well.
    /// Serialized only if there are some, since content keys are older than this field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            max_tokens: 256,
            temperature: 0.7,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repetition_penalty: 1.0,
            stop: Vec::new(),
            seed: 0,
            ignore_eos: false,
            schema: None,
            choices: Vec::new(),
        }
    }
}

/// Why a completion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its text, or a stop string occurred.
    Stop,
    /// `max_tokens` or the context length was reached.
    Length,
}

impl FinishReason {
    /// The word in the store, in requests and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
        }
    }
}

/// The response to one prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// The generated text, without prompt and stop string.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// The reasoning, if an endpoint returns it apart from the text; else empty.
    pub reasoning: String,
    /// Why the text is no answer: the model refused, or its server withheld the answer.
    pub refusal: Option<String>,
    /// Tokens of the prompt, as the model counts them; 0 if an endpoint does not say, and then no
    /// budget counts them either.
    pub prompt_tokens: usize,
    /// Tokens generated, with the end-of-text token or the tokens of the stop string; 0 if an
    /// endpoint does not say.
    pub completion_tokens: usize,
    /// Where the text names one of [`Sampling::choices`], and how likely each was there; none if
    /// nothing was asked, or the model does not tell.
    pub places: Option<Vec<ChoicePlace>>,
}

impl Completion {
    /// Moves the places to a text that begins this many bytes later.
    pub fn places_after(&mut self, before: usize) {
        if let Some(places) = &mut self.places {
            places.retain(|place| place.at >= before);
            places.iter_mut().for_each(|place| place.at -= before);
        }
    }

    /// Says why there is no text; `None` if there is one.
    pub fn emptiness(&self) -> Option<&'static str> {
        if !self.text.trim().is_empty() {
            return None;
        }
        Some(match (self.reasoning.trim().is_empty(), self.finish_reason) {
            (false, FinishReason::Length) => "reasoning used up the token limit before the answer began",
            (false, FinishReason::Stop) => "there is reasoning, and no answer behind it",
            (true, FinishReason::Length) => "the token limit was used up without any text",
            (true, FinishReason::Stop) => "the answer is empty",
        })
    }
}

/// Why a request has no response.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// This request cannot be answered as it is, such as a prompt longer than the context. Others
    /// can.
    #[error("{0}")]
    Request(String),
    /// The backend cannot answer at all: wrong key, no such model, server gone. The run must stop.
    #[error("{0}")]
    Fatal(String),
    /// The backend has too much to do now. The same request may succeed later.
    #[error("{0}")]
    Overloaded(String),
    /// The response will come later, from a backend that [defers](Backend::defers).
    #[error("the request waits for its answer")]
    Deferred,
    /// The caller withdrew the request ([`Leave`]).
    #[error("the request is not sent any more")]
    Withdrawn,
}

/// Permission to send requests. A backend may send several requests for one completion, and asks
/// for leave each time, so that the caller can count requests and withdraw waiting ones.
pub trait Leave: Send + Sync {
    /// Waits until one more request may be sent, and counts it.
    ///
    /// # Errors
    ///
    /// [`BackendError::Withdrawn`].
    fn request(&self) -> BoxFuture<'_, Result<(), BackendError>>;

    /// Counts a request that follows at once from one with leave.
    fn follow_up(&self);

    /// Takes back the count of the last request, which no model worked on.
    fn refund(&self);

    /// Notes what the last request brought, useless or an error, before another one follows it.
    fn in_vain(&self, brought: Result<&Completion, &str>);

    /// Waits until no more requests may be sent. Responses to requests in flight are still wanted.
    fn withdrawn(&self) -> BoxFuture<'_, ()>;
}

/// Leave for any number of requests.
#[derive(Debug, Clone, Copy)]
pub struct Unbounded;

impl Leave for Unbounded {
    fn request(&self) -> BoxFuture<'_, Result<(), BackendError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn follow_up(&self) {}

    fn refund(&self) {}

    fn in_vain(&self, _: Result<&Completion, &str>) {}

    fn withdrawn(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

/// Whether an endpoint gets requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    /// It does.
    Up,
    /// It asked for a pause, or failed a moment ago. Nothing new is sent until the pause is over.
    Paused,
    /// It failed too often. It is tried again now and then, while others answer.
    Aside,
}

/// The state of an endpoint, for status lines and pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointStatus {
    /// Its address as it was given.
    pub url: String,
    /// Whether it gets requests.
    pub state: EndpointState,
    /// Requests in flight.
    pub in_flight: usize,
    /// The current limit of requests in flight.
    pub limit: usize,
    /// Requests that it answered or refused.
    pub answered: u64,
    /// Requests that failed and were tried again.
    pub retried: u64,
}

/// Returns the content key of a request: a hash of model, prompt and all sampling parameters, 64
/// hexadecimal digits. The seed, one of the parameters, distinguishes samples of one prompt.
pub fn content_key(model: &str, prompt: &str, sampling: &Sampling) -> String {
    let sampling = serde_json::to_string(sampling).expect("sampling parameters are plain values");
    let mut hash = Sha256::new();
    for part in [model, prompt, &sampling] {
        // With the length before each part, different requests never become the same bytes.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    crate::text::hex(&hash.finalize())
}

/// A question for a model that answers questions, before any template lays it out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Question {
    /// The system message; empty for none.
    pub system: String,
    /// What to do.
    pub instruction: String,
    /// What to do it with; may be empty.
    pub input: String,
}

impl Question {
    /// Makes a question without system message and input.
    pub fn new(instruction: impl Into<String>) -> Question {
        Question {
            instruction: instruction.into(),
            ..Question::default()
        }
    }

    /// Returns what content keys and `request.prompt` hold: the messages as JSON, such as
    /// `[{"role":"user","content":"Add.","input":"1 2"}]`. So a question is never taken for a text
    /// to continue, nor an input for a part of the instruction.
    pub fn prompt(&self) -> String {
        let mut messages = Vec::new();
        if !self.system.trim().is_empty() {
            messages.push(json!({"role": "system", "content": self.system}));
        }
        let mut user = json!({"role": "user", "content": self.instruction});
        if !self.input.trim().is_empty() {
            user["input"] = self.input.as_str().into();
        }
        messages.push(user);
        serde_json::Value::Array(messages).to_string()
    }

    /// Returns instruction and input as one text, with an empty line between them: the user's
    /// message where a server lays messages out.
    pub fn user(&self) -> String {
        joined(&[&self.instruction, &self.input])
    }

    /// Returns the question as one text for people, and for models that continue texts: system
    /// message, instruction and input, with empty lines between them.
    pub fn text(&self) -> String {
        joined(&[&self.system, &self.instruction, &self.input])
    }
}

/// Joins the texts that say something by empty lines.
fn joined(texts: &[&str]) -> String {
    let texts = texts.iter().filter(|text| !text.trim().is_empty());
    texts.copied().collect::<Vec<_>>().join("\n\n")
}

/// What a model is given.
#[derive(Debug, Clone, Copy)]
pub enum Prompt<'a> {
    /// A text to continue.
    Text(&'a str),
    /// A question to answer.
    Question(&'a Question),
}

impl Prompt<'_> {
    /// The bytes of its texts.
    pub fn bytes(self) -> usize {
        match self {
            Prompt::Text(text) => text.len(),
            Prompt::Question(question) => {
                question.system.len() + question.instruction.len() + question.input.len()
            }
        }
    }
}

impl<'a> From<&'a str> for Prompt<'a> {
    fn from(text: &'a str) -> Prompt<'a> {
        Prompt::Text(text)
    }
}

impl<'a> From<&'a String> for Prompt<'a> {
    fn from(text: &'a String) -> Prompt<'a> {
        Prompt::Text(text)
    }
}

/// A language model that continues prompts.
pub trait Backend: Send + Sync {
    /// Returns the name of the model in `run`, in content keys and in messages. The same name must
    /// mean the same weights. It does not change while the backend lives.
    fn model(&self) -> &str;

    /// Returns how many requests in flight make sense.
    fn capacity(&self) -> usize;

    /// Continues `prompt`. Dropping the future cancels the request.
    fn complete(&self, prompt: String, sampling: Sampling)
    -> BoxFuture<'_, Result<Completion, BackendError>>;

    /// Like [`Backend::complete`], with leave for every request that is sent. A local model counts
    /// as one request.
    fn complete_with<'a>(
        &'a self,
        prompt: String,
        sampling: Sampling,
        leave: &'a dyn Leave,
    ) -> BoxFuture<'a, Result<Completion, BackendError>> {
        Box::pin(async move {
            leave.request().await?;
            self.complete(prompt, sampling).await
        })
    }

    /// Answers a question, laid out as this backend does it; the default continues its text. A
    /// backend that lays questions out in some way says so in [`Backend::model`], as that name is
    /// part of the content key.
    fn ask<'a>(
        &'a self,
        question: &'a Question,
        sampling: Sampling,
        leave: &'a dyn Leave,
    ) -> BoxFuture<'a, Result<Completion, BackendError>> {
        self.complete_with(question.text(), sampling, leave)
    }

    /// Returns the state of the endpoints, in the order in which they were given; empty for a local
    /// model.
    fn status(&self) -> Vec<EndpointStatus> {
        Vec::new()
    }

    /// Whether it contacts no model, and only looks responses up that came by another way. Its
    /// requests cost nothing, so no budget applies, and those without a response wait
    /// ([`BackendError::Deferred`]).
    fn defers(&self) -> bool {
        false
    }
}

/// A backend that has several owners.
impl<B: Backend + ?Sized> Backend for Arc<B> {
    fn model(&self) -> &str {
        (**self).model()
    }

    fn capacity(&self) -> usize {
        (**self).capacity()
    }

    fn complete(
        &self,
        prompt: String,
        sampling: Sampling,
    ) -> BoxFuture<'_, Result<Completion, BackendError>> {
        (**self).complete(prompt, sampling)
    }

    fn complete_with<'a>(
        &'a self,
        prompt: String,
        sampling: Sampling,
        leave: &'a dyn Leave,
    ) -> BoxFuture<'a, Result<Completion, BackendError>> {
        (**self).complete_with(prompt, sampling, leave)
    }

    fn ask<'a>(
        &'a self,
        question: &'a Question,
        sampling: Sampling,
        leave: &'a dyn Leave,
    ) -> BoxFuture<'a, Result<Completion, BackendError>> {
        (**self).ask(question, sampling, leave)
    }

    fn status(&self) -> Vec<EndpointStatus> {
        (**self).status()
    }

    fn defers(&self) -> bool {
        (**self).defers()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_questions_have_the_same_prompt() {
        let question = |system: &str, instruction: &str, input: &str| Question {
            system: system.into(),
            instruction: instruction.into(),
            input: input.into(),
        };
        let all = [
            question("", "a\n\nb", ""),
            question("", "a", "b"),
            question("a", "b", ""),
            question("", "b", "a"),
        ];
        let mut prompts: Vec<String> = all.iter().map(Question::prompt).collect();
        prompts.sort();
        prompts.dedup();
        assert_eq!(prompts.len(), all.len());
        assert_eq!(all[0].text(), all[1].text());
        let whole = question("s", "i", "x");
        assert_eq!(whole.user(), "i\n\nx");
        assert_eq!(whole.text(), "s\n\ni\n\nx");
        assert_eq!(
            whole.prompt(),
            r#"[{"role":"system","content":"s"},{"role":"user","content":"i","input":"x"}]"#
        );
        assert_eq!(question(" ", "i", "\n").prompt(), Question::new("i").prompt());
    }
}
