//! Requests and answers in OpenAI's dialect, with the sampling parameters that vLLM and llama.cpp add.

use ewe::backend::Sampling;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::engine::handle::LocalBackend;
use crate::model::chat_template::Message;

/// One string or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Strings {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Strings {
    fn into_vec(self) -> Vec<String> {
        match self {
            Strings::One(text) => vec![text],
            Strings::Many(texts) => texts,
        }
    }
}

/// A body of `/v1/completions` or `/v1/chat/completions`: the one has `prompt`, the other `messages`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Body {
    /// Text to continue.
    pub prompt: Option<Strings>,
    /// Conversation to answer.
    pub messages: Option<Vec<Message>>,
    /// Whether the answer is to come piece by piece.
    pub stream: bool,
    /// `{"include_usage": true}` ends a stream with the counts.
    pub stream_options: Option<Value>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<i64>,
    min_p: Option<f64>,
    presence_penalty: Option<f64>,
    frequency_penalty: Option<f64>,
    repetition_penalty: Option<f64>,
    stop: Option<Strings>,
    seed: Option<i64>,
    n: Option<u64>,
    best_of: Option<u64>,
    echo: Option<bool>,
    suffix: Option<String>,
    logprobs: Option<Value>,
    tools: Option<Value>,
}

impl Body {
    /// How to sample; the error says which parameter cannot be served. `max_tokens` is the default for the most
    /// tokens, `seed` that for the seed.
    pub fn sampling(&self, max_tokens: usize, seed: u64) -> Result<Sampling, String> {
        let unsupported = [
            ("n", self.n.unwrap_or(1) != 1),
            ("best_of", self.best_of.unwrap_or(1) != 1),
            ("echo", self.echo == Some(true)),
            ("suffix", self.suffix.as_ref().is_some_and(|s| !s.is_empty())),
            (
                "logprobs",
                !matches!(self.logprobs, None | Some(Value::Null | Value::Bool(false))),
            ),
            (
                "tools",
                self.tools
                    .as_ref()
                    .and_then(Value::as_array)
                    .is_some_and(|tools| !tools.is_empty()),
            ),
        ];
        if let Some((name, _)) = unsupported.iter().find(|(_, asked)| *asked) {
            return Err(format!("`{name}` is not supported by this server"));
        }
        let within = |name: &str, value: Option<f64>, default: f64, low: f64, high: f64| match value {
            Some(x) if !(low..=high).contains(&x) => Err(format!("`{name}` is {x}, want {low} to {high}")),
            value => Ok(value.unwrap_or(default)),
        };
        Ok(Sampling {
            max_tokens: self
                .max_completion_tokens
                .or(self.max_tokens)
                .unwrap_or(max_tokens),
            temperature: within("temperature", self.temperature, 1.0, 0.0, 100.0)?,
            top_p: within("top_p", self.top_p, 1.0, 0.0, 1.0)?,
            // vLLM writes "off" as -1.
            top_k: self.top_k.unwrap_or(0).max(0) as usize,
            min_p: within("min_p", self.min_p, 0.0, 0.0, 1.0)?,
            presence_penalty: within("presence_penalty", self.presence_penalty, 0.0, -10.0, 10.0)?,
            frequency_penalty: within("frequency_penalty", self.frequency_penalty, 0.0, -10.0, 10.0)?,
            repetition_penalty: within("repetition_penalty", self.repetition_penalty, 1.0, 0.01, 100.0)?,
            stop: self.stop.clone().map(Strings::into_vec).unwrap_or_default(),
            seed: self.seed.map_or(seed, |seed| seed as u64),
            ignore_eos: false,
            schema: None,
        })
    }

    /// The text of `prompt`, of which there must be one.
    pub fn one_prompt(&self) -> Result<String, String> {
        match self.prompt.clone().map(Strings::into_vec).as_deref() {
            Some([prompt]) => Ok(prompt.clone()),
            Some(several) => Err(format!("`prompt` has {} texts, want one", several.len())),
            None => Err("`prompt` is missing".to_string()),
        }
    }

    /// Whether a stream shall end with the counts.
    pub fn wants_usage(&self) -> bool {
        self.stream_options
            .as_ref()
            .is_some_and(|options| options["include_usage"] == true)
    }
}

/// The two kinds of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `/v1/completions`.
    Text,
    /// `/v1/chat/completions`.
    Chat,
}

impl Kind {
    /// A whole answer.
    pub fn answer(self, id: &str, model: &str, text: &str, reason: &str, usage: Value) -> Value {
        let (object, choice) = match self {
            Kind::Text => (
                "text_completion",
                json!({ "index": 0, "text": text, "finish_reason": reason }),
            ),
            Kind::Chat => {
                let message = json!({ "role": "assistant", "content": text });
                (
                    "chat.completion",
                    json!({ "index": 0, "message": message, "finish_reason": reason }),
                )
            }
        };
        json!({ "id": id, "object": object, "created": now(), "model": model, "choices": [choice], "usage": usage })
    }

    /// A piece of a stream; the last one has a reason and no text.
    pub fn piece(self, id: &str, model: &str, text: &str, reason: Option<&str>) -> Value {
        let (object, choice) = match self {
            Kind::Text => (
                "text_completion",
                json!({ "index": 0, "text": text, "finish_reason": reason }),
            ),
            Kind::Chat => {
                let delta = if reason.is_some() {
                    json!({})
                } else {
                    json!({ "role": "assistant", "content": text })
                };
                (
                    "chat.completion.chunk",
                    json!({ "index": 0, "delta": delta, "finish_reason": reason }),
                )
            }
        };
        json!({ "id": id, "object": object, "created": now(), "model": model, "choices": [choice] })
    }
}

/// `usage` of an answer.
pub fn usage(prompt: usize, completion: usize) -> Value {
    json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion })
}

/// The list that `/v1/models` gives.
pub fn models(backend: &LocalBackend) -> Value {
    use ewe::backend::Backend;
    let model = json!({ "id": backend.model(), "object": "model", "created": 0, "owned_by": "ewe",
        "max_model_len": backend.context() });
    json!({ "object": "list", "data": [model] })
}

fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}
