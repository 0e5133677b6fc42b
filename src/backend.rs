//! What `generate` asks a language model, and what it gets back: plain values and one trait.
//!
//! The OpenAI-compatible client and the local engine of `ewe-torch` both implement [`Backend`]; the stages above
//! never know which of the two answers.

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How the next token is chosen. Field names and meanings are those of OpenAI's completions endpoint, with
/// `top_k`, `min_p` and `repetition_penalty` as vLLM and `transformers` define them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// The most tokens to generate.
    pub max_tokens: usize,
    /// 0 is greedy.
    pub temperature: f64,
    /// Nucleus: the smallest set of tokens whose probability reaches this; 1 switches it off.
    pub top_p: f64,
    /// Only the k likeliest tokens; 0 switches it off.
    pub top_k: usize,
    /// Only tokens at least this fraction as likely as the likeliest; 0 switches it off.
    pub min_p: f64,
    /// Subtracted from the logit of each token already generated.
    pub presence_penalty: f64,
    /// Subtracted from a token's logit once for each time it was generated.
    pub frequency_penalty: f64,
    /// Divides (multiplies, when negative) the logits of tokens in the prompt or the output; 1 switches it off
    /// (CTRL, Keskar et al. 2019).
    pub repetition_penalty: f64,
    /// Generation ends before the first of these strings; it is not part of the text.
    pub stop: Vec<String>,
    /// The text is a function of prompt, parameters and this.
    pub seed: u64,
    /// Whether to go on behind an end-of-text token, as measurements do; named so by vLLM. Written only where it is so, since
    /// content keys are older than it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_eos: bool,
    /// A JSON Schema (draft 2020-12) that the text must satisfy. Only an endpoint can be held to one; where there is
    /// none it is not written, so that content keys from before it existed still hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<serde_json::Value>,
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
        }
    }
}

/// Why a completion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its text, or a stop string was met.
    Stop,
    /// `max_tokens` or the context was used up.
    Length,
}

impl FinishReason {
    /// The word that the store, the wire and the command line use.
    pub fn as_str(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
        }
    }
}

/// The answer to one prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// Generated text, without the prompt and without the stop string.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// What the model thought before it answered, where an endpoint says so apart from the text; else empty.
    pub reasoning: String,
    /// Why the text is no answer to be read, where the model refused or its server held the answer back.
    pub refusal: Option<String>,
    /// Tokens of the prompt, as the model counts them; 0 where an endpoint does not say, and then no budget counts
    /// them either.
    pub prompt_tokens: usize,
    /// Tokens generated, an end-of-text token or the tokens of a stop string included; 0 where an endpoint does not
    /// say.
    pub completion_tokens: usize,
}

impl Completion {
    /// Why there is no text in it; none where there is.
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

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// This request cannot be answered as it stands (say, its prompt is longer than the context); others can.
    #[error("{0}")]
    Request(String),
    /// The backend cannot answer at all (wrong key, no such model, gone for good); the run must stop.
    #[error("{0}")]
    Fatal(String),
    /// The answer comes another day, from a backend that [defers](Backend::defers).
    #[error("the request waits for its answer")]
    Deferred,
    /// Whoever asked wants it no more ([`Leave`]).
    #[error("the request is not sent any more")]
    Withdrawn,
}

/// What a backend that may send several requests for one question must ask for, so that whoever wants the answer keeps
/// count, and can end the waiting.
pub trait Leave: Send + Sync {
    /// Waits until one more request may be sent, and counts it.
    ///
    /// # Errors
    ///
    /// [`BackendError::Withdrawn`].
    fn request(&self) -> BoxFuture<'_, Result<(), BackendError>>;

    /// Counts a request that follows at once from one that had leave.
    fn follow_up(&self);

    /// The last request did not reach anybody who would have worked on it; it counts for nothing.
    fn refund(&self);

    /// Waits until nothing more is to be sent. What is under way is still wanted.
    fn withdrawn(&self) -> BoxFuture<'_, ()>;
}

/// Leave for whatever is sent.
#[derive(Debug, Clone, Copy)]
pub struct Unbounded;

impl Leave for Unbounded {
    fn request(&self) -> BoxFuture<'_, Result<(), BackendError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn follow_up(&self) {}

    fn refund(&self) {}

    fn withdrawn(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

/// Whether an endpoint is being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    /// It is.
    Up,
    /// It asked for a pause, or failed a moment ago; nothing new is sent until the pause is over.
    Paused,
    /// It failed for good and is tried again now and then, while others answer.
    Aside,
}

/// How an endpoint behind a backend is doing, for whoever shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointStatus {
    /// Its address, as it was given.
    pub url: String,
    /// Whether it is being asked.
    pub state: EndpointState,
    /// Requests under way.
    pub in_flight: usize,
    /// Requests that may be under way at once, as adapted so far.
    pub limit: usize,
    /// Requests that it answered, or refused as they stood.
    pub answered: u64,
    /// Requests that failed there and were tried again.
    pub retried: u64,
}

/// Names a question: a hash of the model, the prompt and every sampling parameter, 64 hexadecimal digits. The seed is
/// among the parameters, and it tells two samples of one prompt apart.
pub fn content_key(model: &str, prompt: &str, sampling: &Sampling) -> String {
    let sampling = serde_json::to_string(sampling).expect("sampling parameters are plain values");
    let mut hash = Sha256::new();
    for part in [model, prompt, &sampling] {
        // With the length before each part, no two questions run together into one text.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A language model that continues prompts.
pub trait Backend: Send + Sync {
    /// Names the model in `run`, in content keys and in messages; the same name must mean the same weights. It stays
    /// the same for as long as the backend lives.
    fn model(&self) -> &str;

    /// How many requests it makes sense to have in flight at once.
    fn capacity(&self) -> usize;

    /// Continues `prompt`. Dropping the future gives the request up.
    fn complete(&self, prompt: String, sampling: Sampling)
    -> BoxFuture<'_, Result<Completion, BackendError>>;

    /// As [`Backend::complete`], with leave for every request that is sent. What a backend does by itself is one request.
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

    /// How the endpoints behind it are doing, in the order in which they were given; none for a local model.
    fn status(&self) -> Vec<EndpointStatus> {
        Vec::new()
    }

    /// Whether it asks nobody, and only looks answers up that came by another way. To ask it costs nothing, so no budget
    /// is held against it, and what it has no answer to waits ([`BackendError::Deferred`]).
    fn defers(&self) -> bool {
        false
    }
}
