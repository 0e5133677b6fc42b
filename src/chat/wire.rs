//! Answers in OpenAI's format, whole or in chunks of a stream.

use serde_json::{Map, Value, json};

use super::delta::{Delta, DeltaToken};
use super::tools::stream::CallDelta;
use crate::engine::logprobs::{Logprobs, TokenLogprob};
use crate::model::text::token_bytes::TokenBytes;

/// The endpoint that an answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompletionKind {
    /// `/v1/completions`.
    Text,
    /// `/v1/chat/completions`.
    Chat,
}

/// The fields that all parts of one response share.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    kind: CompletionKind,
    id: String,
    model: String,
    created: u64,
    /// How many of the likeliest tokens are reported; none if no logprobs are.
    logprobs: Option<usize>,
}

impl ResponseHead {
    /// Returns the fields of answer `number`, created now.
    pub fn new(kind: CompletionKind, number: u64, model: &str, logprobs: Option<usize>) -> ResponseHead {
        let prefix = match kind {
            CompletionKind::Text => "cmpl",
            CompletionKind::Chat => "chatcmpl",
        };
        let created = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |time| time.as_secs());
        ResponseHead {
            kind,
            id: format!("{prefix}-{number}"),
            model: model.to_string(),
            created,
            logprobs,
        }
    }

    /// Returns a whole answer.
    pub fn whole(&self, choices: Vec<Value>, usage: Value) -> Value {
        let object = match self.kind {
            CompletionKind::Text => "text_completion",
            CompletionKind::Chat => "chat.completion",
        };
        json!({ "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices,
            "usage": usage })
    }

    /// Returns a chunk of a stream.
    pub fn chunk(&self, choices: Vec<Value>, usage: Option<Value>) -> Value {
        let object = match self.kind {
            CompletionKind::Text => "text_completion",
            CompletionKind::Chat => "chat.completion.chunk",
        };
        json!({ "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices,
            "usage": usage })
    }

    /// Returns a choice of a whole answer.
    pub fn choice(&self, index: usize, whole: &Delta, bytes: &TokenBytes) -> Value {
        let logprobs = self.logprobs(&whole.tokens, bytes);
        let reason = whole.reason();
        match self.kind {
            CompletionKind::Text => {
                json!({ "index": index, "text": whole.text, "logprobs": logprobs, "finish_reason": reason })
            }
            CompletionKind::Chat => {
                let mut message = json!({ "role": "assistant", "content": whole.text });
                if !whole.calls.is_empty() {
                    if whole.text.is_empty() {
                        message["content"] = Value::Null;
                    }
                    message["tool_calls"] = whole.calls.iter().map(|call| tool_call(call, false)).collect();
                }
                json!({ "index": index, "message": message, "logprobs": logprobs, "finish_reason": reason })
            }
        }
    }

    /// Returns a choice of a chunk. The first chunk of each choice has the role.
    pub fn delta(&self, index: usize, delta: &Delta, first: bool, bytes: &TokenBytes) -> Value {
        let logprobs = match delta.tokens.as_slice() {
            [] => Value::Null,
            tokens => self.logprobs(tokens, bytes),
        };
        let reason = delta.reason();
        if self.kind == CompletionKind::Text {
            return json!({ "index": index, "text": delta.text, "logprobs": logprobs, "finish_reason": reason });
        }
        let mut fields = Map::new();
        if first {
            fields.insert("role".to_string(), json!("assistant"));
        }
        if first || !delta.text.is_empty() {
            fields.insert("content".to_string(), json!(delta.text));
        }
        if !delta.calls.is_empty() {
            let calls = delta.calls.iter().map(|call| tool_call(call, true));
            fields.insert("tool_calls".to_string(), calls.collect());
        }
        json!({ "index": index, "delta": fields, "logprobs": logprobs, "finish_reason": reason })
    }

    /// Returns the field `logprobs`, or null.
    fn logprobs(&self, tokens: &[DeltaToken], bytes: &TokenBytes) -> Value {
        match (self.logprobs, self.kind) {
            (None, _) => Value::Null,
            (Some(likeliest), CompletionKind::Text) => completion_logprobs(tokens, likeliest, bytes),
            (Some(_), CompletionKind::Chat) => chat_logprobs(tokens, bytes),
        }
    }
}

/// Returns a call of a tool; in a chunk of a stream it has a number, and may be a part.
fn tool_call(call: &CallDelta, is_chunk: bool) -> Value {
    let mut fields = Map::new();
    if is_chunk {
        fields.insert("index".to_string(), json!(call.index));
    }
    let mut function = Map::new();
    if let Some((id, name)) = &call.begun {
        fields.insert("id".to_string(), json!(id));
        fields.insert("type".to_string(), json!("function"));
        function.insert("name".to_string(), json!(name));
    }
    function.insert("arguments".to_string(), json!(call.arguments));
    fields.insert("function".to_string(), Value::Object(function));
    Value::Object(fields)
}

/// Returns `logprobs` of `/v1/completions`.
fn completion_logprobs(tokens: &[DeltaToken], likeliest: usize, bytes: &TokenBytes) -> Value {
    let top = |token: &DeltaToken| {
        let Some(logprobs) = &token.logprobs else {
            return Value::Null;
        };
        let mut top = Map::new();
        // The token itself is listed even if it is not among the likeliest. Of tokens with the same
        // text the likelier one counts.
        for scored in logprobs.likeliest.iter().chain([&logprobs.chosen]) {
            let text = token_text(&bytes.bytes(scored.id));
            top.entry(text).or_insert(number(scored.logprob));
        }
        Value::Object(top)
    };
    let texts: Vec<String> = tokens
        .iter()
        .map(|token| token_text(&bytes.bytes(token.id)))
        .collect();
    let logprob = |token: &DeltaToken| match &token.logprobs {
        Some(logprobs) => number(logprobs.chosen.logprob),
        None => Value::Null,
    };
    let logprobs: Vec<Value> = tokens.iter().map(logprob).collect();
    let tops = (likeliest > 0).then(|| tokens.iter().map(top).collect::<Vec<Value>>());
    let offsets: Vec<usize> = tokens.iter().map(|token| token.offset).collect();
    json!({ "tokens": texts, "token_logprobs": logprobs, "top_logprobs": tops, "text_offset": offsets })
}

/// Returns `logprobs` of `/v1/chat/completions`.
fn chat_logprobs(tokens: &[DeltaToken], bytes: &TokenBytes) -> Value {
    let one = |scored: &TokenLogprob| {
        let bytes = bytes.bytes(scored.id);
        json!({ "token": String::from_utf8_lossy(&bytes), "logprob": number(scored.logprob), "bytes": bytes })
    };
    let all = |logprobs: &Logprobs| {
        let mut json = one(&logprobs.chosen);
        json["top_logprobs"] = logprobs.likeliest.iter().map(one).collect();
        json
    };
    let logprobs = tokens.iter().filter_map(|token| token.logprobs.as_ref());
    let content: Vec<Value> = logprobs.map(all).collect();
    json!({ "content": content, "refusal": null })
}

/// Returns a token as OpenAI's completions write it: as text, or as `bytes:\xe7\xbe` if it is not
/// UTF-8.
fn token_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_string(),
        Err(_) => {
            let bytes: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            format!("bytes:{bytes}")
        }
    }
}

/// Returns a logprob. JSON has no -inf, so OpenAI and vLLM write -9999.
fn number(logprob: f32) -> Value {
    json!(logprob.max(-9999.0))
}

/// Returns the field `usage` of an answer.
pub fn usage(prompt: usize, completion: usize) -> Value {
    json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion })
}
