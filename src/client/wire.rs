//! `/v1/completions` and `/v1/chat/completions` as OpenAI documents them, with the sampling parameters that vLLM and
//! llama.cpp add. Base models want completions: a chat template puts words around the prompt that it was not made for.

use super::lenient::{repaired, unmarked};
use crate::backend::Sampling;
use crate::prompt::continuation;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The two ways to put a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// A text to be continued.
    Completions,
    /// A chat whose only message is the text, below a system message that asks to continue it.
    Chat,
}

impl Dialect {
    /// Where it is spoken, from `/v1` on.
    pub fn path(self) -> &'static str {
        match self {
            Dialect::Completions => "/completions",
            Dialect::Chat => "/chat/completions",
        }
    }
}

/// The body of a request. Parameters at the value that changes nothing are left out: servers refuse what they do not
/// know.
#[derive(Debug, Serialize)]
pub struct Request<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<[Message<'a>; 2]>,
    max_tokens: usize,
    temperature: f64,
    top_p: f64,
    seed: u64,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "is_zero")]
    presence_penalty: f64,
    #[serde(skip_serializing_if = "is_zero")]
    frequency_penalty: f64,
    #[serde(skip_serializing_if = "is_zero")]
    min_p: f64,
    #[serde(skip_serializing_if = "is_none")]
    top_k: usize,
    #[serde(skip_serializing_if = "is_one")]
    repetition_penalty: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
}

#[derive(Debug, Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

fn is_one(value: &f64) -> bool {
    *value == 1.0
}

fn is_none(value: &usize) -> bool {
    *value == 0
}

impl Request<'_> {
    /// Its fields by name.
    pub fn fields(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(fields)) => fields,
            _ => unreachable!("a request is an object of plain values"),
        }
    }
}

impl<'a> Request<'a> {
    /// Asks `model` to continue `prompt`.
    pub fn new(dialect: Dialect, model: &'a str, prompt: &'a str, sampling: &'a Sampling) -> Self {
        let (prompt, messages) = match dialect {
            Dialect::Completions => (Some(prompt), None),
            Dialect::Chat => {
                let message = |role, content| Message { role, content };
                let messages = [message("system", continuation::SYSTEM), message("user", prompt)];
                (None, Some(messages))
            }
        };
        Request {
            model,
            prompt,
            messages,
            max_tokens: sampling.max_tokens,
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            seed: sampling.seed,
            stop: &sampling.stop,
            presence_penalty: sampling.presence_penalty,
            frequency_penalty: sampling.frequency_penalty,
            min_p: sampling.min_p,
            top_k: sampling.top_k,
            repetition_penalty: sampling.repetition_penalty,
            response_format: sampling.schema.as_ref().map(|schema| {
                json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": true}})
            }),
        }
    }
}

/// The server's own words about an error: `error.message` where it speaks OpenAI's dialect, what other dialects have in its
/// place, and all of it where there is none of these.
pub fn error_message(body: &str) -> String {
    let value: Option<Value> = serde_json::from_slice(&repaired(unmarked(body.as_bytes()))).ok();
    value.as_ref().and_then(said).unwrap_or_else(|| body.to_string())
}

/// What an error says, wherever in it.
fn said(error: &Value) -> Option<String> {
    match error {
        Value::String(words) => Some(words.clone()),
        Value::Array(errors) => {
            let said: Vec<String> = errors.iter().filter_map(said).collect();
            (!said.is_empty()).then(|| said.join("; "))
        }
        Value::Object(parts) => {
            let part = |name: &str| parts.get(name).and_then(said);
            let words = [
                "error",
                "message",
                "msg",
                "detail",
                "error_description",
                "errors",
                "title",
            ]
            .iter()
            .find_map(|name| part(name))?;
            // FastAPI says apart where it is wrong: ["body", "seed"].
            let place = parts.get("loc").and_then(Value::as_array).map(|place| {
                let steps = place.iter().filter(|step| *step != "body");
                let steps = steps.map(|step| step.as_str().map_or_else(|| step.to_string(), str::to_string));
                steps.collect::<Vec<_>>().join(".")
            });
            Some(match place {
                Some(place) if !place.is_empty() => format!("{place}: {words}"),
                _ => words,
            })
        }
        _ => None,
    }
}

/// Whether a body is an error and no answer, whatever its status.
pub fn is_error(body: &str) -> bool {
    let value: Value = serde_json::from_slice(&repaired(unmarked(body.as_bytes()))).unwrap_or_default();
    !value["error"].is_null() && value.get("choices").is_none_or(Value::is_null)
}

/// Whether a refusal of a text to be continued says that the model or its server wants a chat.
pub fn wants_chat(body: &str) -> bool {
    let words = error_message(body).to_lowercase();
    [
        "chat completion",
        "chat/completion",
        "chat model",
        "chat_completion",
        "use chat",
        "v1/completions",
    ]
    .iter()
    .any(|part| words.contains(part))
}

/// The models that a server lists, in OpenAI's form and in those of llama.cpp, Ollama and Together.
pub fn models(body: &[u8]) -> Vec<String> {
    let value: Value = serde_json::from_slice(&repaired(unmarked(body))).unwrap_or_default();
    let lists = [&value["data"], &value["models"], &value];
    let list = lists.iter().find_map(|list| list.as_array());
    let name = |model: &Value| {
        let names = [model, &model["id"], &model["name"], &model["model"]];
        names.iter().find_map(|name| name.as_str()).map(str::to_string)
    };
    let mut models: Vec<String> = list.into_iter().flatten().filter_map(name).collect();
    let mut seen = std::collections::HashSet::new();
    models.retain(|model| seen.insert(model.clone()));
    models
}

/// Whether the error says that the account is used up (OpenAI's 429 that no waiting helps).
pub fn is_out_of_quota(body: &str) -> bool {
    let value: Value = serde_json::from_str(body).unwrap_or_default();
    ["code", "type"]
        .iter()
        .any(|name| value["error"][name] == "insufficient_quota")
}

/// The first 300 characters on one line. What a server sends may hold control sequences for a terminal, and marks that turn
/// the direction of a line; they are taken out.
pub fn excerpt(text: &str) -> String {
    let is_obeyed = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    let line = |text: &str| text.replace(is_obeyed, " ");
    let text = text.trim();
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", line(&text[..end])),
        None => line(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_is_sent() {
        let sampling = Sampling {
            stop: vec!["\n\n".into()],
            ..Sampling::default()
        };
        let body = |dialect, sampling: &Sampling| {
            serde_json::to_value(Request::new(dialect, "m", "p", sampling)).unwrap()
        };
        assert_eq!(
            body(Dialect::Completions, &sampling),
            json!({"model": "m", "prompt": "p", "max_tokens": 256, "temperature": 0.7, "top_p": 1.0, "seed": 0,
                "stop": ["\n\n"]})
        );
        let chat = body(Dialect::Chat, &sampling);
        assert_eq!(
            chat["messages"][1],
            json!({"role": "user", "content": "p"}),
            "{chat}"
        );
        assert!(chat.get("prompt").is_none());
        let held = Sampling {
            schema: Some(json!({"type": "object"})),
            ..sampling
        };
        assert_eq!(
            body(Dialect::Chat, &held)["response_format"],
            json!({"type": "json_schema",
                "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": true}})
        );
    }

    #[test]
    fn models_are_listed_in_several_forms() {
        for body in [
            r#"{"object":"list","data":[{"id":"m","object":"model"}]}"#,
            r#"{"models":[{"name":"m"}]}"#,
            r#"[{"id":"m"}]"#,
            r#"{"data":["m"]}"#,
            r#"{"data":[{"id":"m"},{"id":"m"}]}"#,
        ] {
            assert_eq!(models(body.as_bytes()), ["m"], "{body}");
        }
        assert_eq!(models(b"<html>"), Vec::<String>::new());
        assert_eq!(models(br#"{"data":[{"id":"a"},{"id":"b"}]}"#), ["a", "b"]);
    }

    #[test]
    fn the_server_s_words_are_found() {
        assert_eq!(error_message(r#"{"error":{"message":"bad key"}}"#), "bad key");
        assert_eq!(error_message(r#"{"detail":"Not Found"}"#), "Not Found");
        assert_eq!(error_message(r#"{"error":"no"}"#), "no");
        assert_eq!(
            error_message(r#"{"detail":[{"loc":["body","seed"],"msg":"Extra inputs are not permitted"}]}"#),
            "seed: Extra inputs are not permitted"
        );
        assert_eq!(
            error_message(r#"{"object":"error","message":{"detail":[{"loc":["body","n"],"msg":"bad"}]}}"#),
            "n: bad"
        );
        assert_eq!(error_message(r#"{"code":7}"#), r#"{"code":7}"#);
        assert_eq!(error_message("nope"), "nope");
        assert!(is_out_of_quota(r#"{"error":{"code":"insufficient_quota"}}"#));
        assert!(!is_out_of_quota(r#"{"error":{"code":"rate_limit_exceeded"}}"#));
        assert!(!is_out_of_quota("[]"));
        assert_eq!(excerpt("a\u{1b}[2Jb\nc "), "a [2Jb c");
        assert_eq!(excerpt("a\u{202e}b\u{2066}c"), "a b c");
        assert_eq!(excerpt(&"é".repeat(301)), format!("{}…", "é".repeat(300)));
    }
}
