//! Answers in OpenAI's dialect, whole or in pieces.

use serde_json::{Map, Value, json};

use super::delta::{Delta, Told};
use crate::engine::logprobs::Scored;
use crate::model::token_bytes::TokenBytes;

/// The two kinds of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `/v1/completions`.
    Text,
    /// `/v1/chat/completions`.
    Chat,
}

/// What all parts of one answer share.
#[derive(Debug, Clone)]
pub struct Head {
    kind: Kind,
    id: String,
    model: String,
    created: u64,
    /// How many of the likeliest tokens are told; none where nothing is told of tokens.
    logprobs: Option<usize>,
}

impl Head {
    /// Of answer `number`, made now.
    pub fn new(kind: Kind, number: u64, model: &str, logprobs: Option<usize>) -> Head {
        let prefix = match kind {
            Kind::Text => "cmpl",
            Kind::Chat => "chatcmpl",
        };
        let created = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |time| time.as_secs());
        Head {
            kind,
            id: format!("{prefix}-{number}"),
            model: model.to_string(),
            created,
            logprobs,
        }
    }

    /// The whole answer.
    pub fn whole(&self, choices: Vec<Value>, usage: Value) -> Value {
        let object = match self.kind {
            Kind::Text => "text_completion",
            Kind::Chat => "chat.completion",
        };
        json!({ "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices,
            "usage": usage })
    }

    /// A piece of a stream.
    pub fn piece(&self, choices: Vec<Value>, usage: Option<Value>) -> Value {
        let object = match self.kind {
            Kind::Text => "text_completion",
            Kind::Chat => "chat.completion.chunk",
        };
        json!({ "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices,
            "usage": usage })
    }

    /// A choice of a whole answer.
    pub fn choice(&self, index: usize, whole: &Delta, bytes: &TokenBytes) -> Value {
        let logprobs = self.logprobs(&whole.tokens, bytes);
        let reason = whole.end.map(|(reason, _)| reason.as_str());
        match self.kind {
            Kind::Text => {
                json!({ "index": index, "text": whole.text, "logprobs": logprobs, "finish_reason": reason })
            }
            Kind::Chat => {
                let message = json!({ "role": "assistant", "content": whole.text });
                json!({ "index": index, "message": message, "logprobs": logprobs, "finish_reason": reason })
            }
        }
    }

    /// A choice of a piece; the first of each choice says who speaks.
    pub fn delta(&self, index: usize, piece: &Delta, first: bool, bytes: &TokenBytes) -> Value {
        let logprobs = match piece.tokens.as_slice() {
            [] => Value::Null,
            tokens => self.logprobs(tokens, bytes),
        };
        let reason = piece.end.map(|(reason, _)| reason.as_str());
        if self.kind == Kind::Text {
            return json!({ "index": index, "text": piece.text, "logprobs": logprobs, "finish_reason": reason });
        }
        let mut delta = Map::new();
        if first {
            delta.insert("role".to_string(), json!("assistant"));
        }
        if first || !piece.text.is_empty() {
            delta.insert("content".to_string(), json!(piece.text));
        }
        json!({ "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason })
    }

    fn logprobs(&self, tokens: &[Told], bytes: &TokenBytes) -> Value {
        match (self.logprobs, self.kind) {
            (None, _) => Value::Null,
            (Some(likeliest), Kind::Text) => of_texts(tokens, likeliest, bytes),
            (Some(_), Kind::Chat) => of_messages(tokens, bytes),
        }
    }
}

fn of_texts(tokens: &[Told], likeliest: usize, bytes: &TokenBytes) -> Value {
    let top = |told: &Told| {
        let mut top = Map::new();
        // The token itself is there even where it is not among the likeliest. Of tokens with one text the likelier counts.
        for scored in told.logprobs.likeliest.iter().chain([&told.logprobs.chosen]) {
            let text = legacy(&bytes.bytes(scored.id));
            top.entry(text).or_insert(number(scored.logprob));
        }
        Value::Object(top)
    };
    let texts: Vec<String> = tokens
        .iter()
        .map(|told| legacy(&bytes.bytes(told.logprobs.chosen.id)))
        .collect();
    let logprobs: Vec<Value> = tokens
        .iter()
        .map(|told| number(told.logprobs.chosen.logprob))
        .collect();
    let tops = (likeliest > 0).then(|| tokens.iter().map(top).collect::<Vec<Value>>());
    let offsets: Vec<usize> = tokens.iter().map(|told| told.offset).collect();
    json!({ "tokens": texts, "token_logprobs": logprobs, "top_logprobs": tops, "text_offset": offsets })
}

fn of_messages(tokens: &[Told], bytes: &TokenBytes) -> Value {
    let one = |scored: &Scored| {
        let bytes = bytes.bytes(scored.id);
        json!({ "token": String::from_utf8_lossy(&bytes), "logprob": number(scored.logprob), "bytes": bytes })
    };
    let told = |told: &Told| {
        let mut token = one(&told.logprobs.chosen);
        token["top_logprobs"] = told.logprobs.likeliest.iter().map(one).collect();
        token
    };
    let content: Vec<Value> = tokens.iter().map(told).collect();
    json!({ "content": content, "refusal": null })
}

/// A token as OpenAI's completions write it: as text, or, where it is no text by itself, as `bytes:\xe7\xbe`.
fn legacy(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_string(),
        Err(_) => {
            let bytes: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            format!("bytes:{bytes}")
        }
    }
}

/// JSON has no -inf; -9999 is what OpenAI and vLLM write.
fn number(logprob: f32) -> Value {
    json!(logprob.max(-9999.0))
}

/// `usage` of an answer.
pub fn usage(prompt: usize, completion: usize) -> Value {
    json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion })
}
