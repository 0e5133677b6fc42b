//! Requests to `/v1/completions` and `/v1/chat/completions` as OpenAI documents them, with the
//! sampling parameters that vLLM and llama.cpp add. Base models need completions: a chat template
//! would put text around the prompt that the prompt was not made for.

pub use super::error_text::error_message;
use super::error_text::plain;
use crate::backend::{Prompt, Sampling};
use crate::choice;
use crate::lenient_json::{repaired, unmarked};
use crate::prompt::continuation;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// The two APIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// A text to continue.
    Completions,
    /// A chat with one message: a question, or a text after a system message that asks to continue
    /// it.
    Chat,
}

impl Dialect {
    /// Returns the path after `/v1`.
    pub fn path(self) -> &'static str {
        match self {
            Dialect::Completions => "/completions",
            Dialect::Chat => "/chat/completions",
        }
    }
}

/// Fields that are always sent: without them the request would be another one, or have no end.
pub const REQUIRED_FIELDS: [&str; 6] = [
    "model",
    "prompt",
    "messages",
    "response_format",
    "logprobs",
    "top_logprobs",
];

/// The body of a request. Parameters without any effect are left out, since servers refuse
/// parameters that they do not know.
#[derive(Debug, Serialize)]
pub struct Request<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Vec<RequestMessage<'a>>>,
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
    /// The number of the likeliest tokens for completions, `true` for chats.
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<usize>,
}

/// A message of a chat request.
#[derive(Debug, Serialize)]
struct RequestMessage<'a> {
    role: &'static str,
    content: Cow<'a, str>,
}

impl<'a> RequestMessage<'a> {
    fn new(role: &'static str, content: impl Into<Cow<'a, str>>) -> RequestMessage<'a> {
        let content = content.into();
        RequestMessage { role, content }
    }

    /// Returns the messages of a chat about `prompt`.
    fn all(prompt: Prompt<'a>) -> Vec<RequestMessage<'a>> {
        match prompt {
            Prompt::Text(text) => vec![
                RequestMessage::new("system", continuation::SYSTEM),
                RequestMessage::new("user", text),
            ],
            Prompt::Question(question) => {
                let system = Some(question.system.as_str()).filter(|text| !text.trim().is_empty());
                let system = system.map(|text| RequestMessage::new("system", text));
                let user = RequestMessage::new("user", question.user());
                system.into_iter().chain([user]).collect()
            }
        }
    }
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
    /// Returns the fields by name.
    pub fn fields(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(fields)) => fields,
            _ => unreachable!("a request is an object of plain values"),
        }
    }
}

impl<'a> Request<'a> {
    /// Makes a request to `model` to continue a text, or to answer a question.
    pub fn new(
        dialect: Dialect,
        model: &'a str,
        prompt: impl Into<Prompt<'a>>,
        sampling: &'a Sampling,
    ) -> Self {
        let (prompt, messages) = match (dialect, prompt.into()) {
            (Dialect::Completions, Prompt::Text(text)) => (Some(text.into()), None),
            (Dialect::Completions, Prompt::Question(question)) => (Some(question.text().into()), None),
            (Dialect::Chat, prompt) => (None, Some(RequestMessage::all(prompt))),
        };
        let wants_logprobs = !sampling.choices.is_empty();
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
            logprobs: wants_logprobs.then(|| match dialect {
                Dialect::Completions => choice::LIKELIEST.into(),
                Dialect::Chat => true.into(),
            }),
            top_logprobs: (wants_logprobs && dialect == Dialect::Chat).then_some(choice::LIKELIEST),
        }
    }
}

/// Whether a body is an error and not an answer, whatever the status of the response.
pub fn is_error(body: &str) -> bool {
    let value: Value = serde_json::from_slice(&repaired(unmarked(body.as_bytes()))).unwrap_or_default();
    !value["error"].is_null() && value.get("choices").is_none_or(Value::is_null)
}

/// Whether the refusal of a chat request says that the model has no chat template, as vLLM does of
/// base models.
pub fn lacks_template(body: &str) -> bool {
    error_message(body).to_lowercase().contains("chat template")
}

/// Whether the refusal of a completion request says that the model or its server needs the chat
/// API.
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

/// Names of fields that list models.
const LISTS: [&str; 6] = ["data", "models", "modellist", "result", "results", "items"];
/// Names of fields with the name of a model. `ewe serve` has a fingerprint, too, and can be asked
/// by it: answers of other weights must not be taken for those of this model.
const NAMES: [&str; 6] = ["fingerprint", "id", "name", "model", "modelname", "modelid"];

/// Reads a list of models in the form of OpenAI, llama.cpp, Ollama, Together, LiteLLM and others.
/// Of several lists, the first with a model counts. Anything after the JSON is ignored.
pub fn models(body: &[u8]) -> Vec<String> {
    let json = repaired(unmarked(body));
    let mut values = serde_json::Deserializer::from_slice(&json).into_iter::<Value>();
    let value = values.find_map(Result::ok).unwrap_or_default();
    let lists = LISTS.iter().filter_map(|list| part(&value, list)).map(listed);
    let itself = || match value["object"] == "model" {
        true => model_name(&value).into_iter().collect(),
        false => value.as_array().map_or(Vec::new(), |_| listed(&value)),
    };
    let mut models = lists
        .chain(std::iter::once_with(itself))
        .find(|models| !models.is_empty())
        .unwrap_or_default();
    let mut seen = std::collections::HashSet::new();
    models.retain(|model| seen.insert(model.clone()));
    models
}

/// Reads the models of a list, of an object by name, or a single model.
fn listed(list: &Value) -> Vec<String> {
    match list {
        Value::Array(models) => models.iter().filter_map(model_name).collect(),
        Value::Object(models) => match model_name(list) {
            Some(only) => vec![only],
            None => models
                .iter()
                .filter(|(_, model)| model.is_object())
                .map(|(name, model)| model_name(model).unwrap_or_else(|| name.clone()))
                .collect(),
        },
        _ => Vec::new(),
    }
}

fn model_name(model: &Value) -> Option<String> {
    let names = NAMES.iter().filter_map(|name| part(model, name));
    let mut names = std::iter::once(model).chain(names).filter_map(Value::as_str);
    names.next().map(str::to_string)
}

/// Returns a field of an object, whatever the case and punctuation of its name.
fn part<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let mut parts = value.as_object()?.iter();
    parts
        .find(|(written, _)| plain(written) == name)
        .map(|(_, part)| part)
}

/// Whether the error says that the account's quota is used up: a 429 of OpenAI that no waiting
/// helps.
pub fn is_out_of_quota(body: &str) -> bool {
    let value: Value = serde_json::from_str(body).unwrap_or_default();
    ["code", "type"]
        .iter()
        .any(|name| value["error"][name] == "insufficient_quota")
}

/// Returns the first 300 characters on one line. Control characters and bidirectional marks, by
/// which a server could control a terminal, become spaces.
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
    use crate::backend::Question;

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
        let question = Question {
            system: "s".into(),
            instruction: "i".into(),
            input: "x".into(),
        };
        let asked = |dialect| {
            let request = Request::new(dialect, "m", Prompt::Question(&question), &sampling);
            serde_json::to_value(request).unwrap()
        };
        assert_eq!(
            asked(Dialect::Chat)["messages"],
            json!([{"role": "system", "content": "s"}, {"role": "user", "content": "i\n\nx"}])
        );
        assert_eq!(asked(Dialect::Completions)["prompt"], "s\n\ni\n\nx");
        let chosen = Sampling {
            choices: vec!["1".into()],
            ..Sampling::default()
        };
        assert_eq!(body(Dialect::Completions, &chosen)["logprobs"], 20);
        assert!(body(Dialect::Completions, &chosen).get("top_logprobs").is_none());
        let chat = body(Dialect::Chat, &chosen);
        assert_eq!(
            (&chat["logprobs"], &chat["top_logprobs"]),
            (&json!(true), &json!(20))
        );
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
            r#"{"data":[{"id":"sheep","object":"model","fingerprint":"m"}]}"#,
            r#"[{"id":"m"}]"#,
            r#"{"data":["m"]}"#,
            r#"{"data":[{"id":"m"},{"id":"m"}]}"#,
            r#"{"data":[],"models":[{"name":"m"}]}"#,
            r#"{"models":null,"data":[null,{"id":null,"name":"m"}]}"#,
            r#"{"data":{"m":{"owned_by":"us"}}}"#,
            r#"{"data":{"first":{"id":"m"}}}"#,
            r#"{"data":{"id":"m","object":"model"}}"#,
            r#"{"id":"m","object":"model"}"#,
            r#"{"data":[{"model_name":"m","litellm_params":{"model":"x"}}]}"#,
            r#"{"result":[{"modelId":"m"}]}"#,
            "{\"data\":[{\"id\":\"m\"}]}\n\0",
            "{\"data\":[{\"id\":\"m\"}]}\n{\"data\":[{\"id\":\"x\"}]}",
        ] {
            assert_eq!(models(body.as_bytes()), ["m"], "{body}");
        }
        for none in [
            "<html>",
            "",
            "[]",
            "{\"data\":[]}",
            "{\"id\":\"x\",\"data\":[{\"id\":5}]}",
        ] {
            assert_eq!(models(none.as_bytes()), Vec::<String>::new(), "{none}");
        }
        assert_eq!(models(br#"{"data":[{"id":"a"},{"id":"b"}]}"#), ["a", "b"]);
    }

    #[test]
    fn a_model_without_a_chat_template_is_known_by_its_refusal() {
        let vllm =
            r#"{"error":{"message":"As of transformers v4.44, default chat template is no longer allowed"}}"#;
        assert!(lacks_template(vllm));
        assert!(!lacks_template(
            r#"{"error":{"message":"the prompt is too long"}}"#
        ));
    }

    #[test]
    fn a_used_up_account_is_told_from_a_busy_server() {
        assert!(is_out_of_quota(r#"{"error":{"code":"insufficient_quota"}}"#));
        assert!(!is_out_of_quota(r#"{"error":{"code":"rate_limit_exceeded"}}"#));
        assert!(!is_out_of_quota("[]"));
    }

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt("a\u{1b}[2Jb\nc "), "a [2Jb c");
        assert_eq!(excerpt("a\u{202e}b\u{2066}c"), "a b c");
        assert_eq!(excerpt(&"é".repeat(301)), format!("{}…", "é".repeat(300)));
    }
}
