//! `/v1/completions` and `/v1/chat/completions` as OpenAI documents them, with the sampling parameters that vLLM and
//! llama.cpp add. Base models want completions: a chat template puts words around the prompt that it was not made for.

use super::failure::{Failure, Kind, Passing};
use crate::backend::{BackendError, Completion, FinishReason, Sampling};
use crate::prompt::continuation;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

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

#[derive(Deserialize)]
struct Response {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Value,
}

/// A choice of either dialect.
#[derive(Deserialize)]
struct Choice {
    index: Option<u64>,
    text: Option<String>,
    message: Option<Reply>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Reply {
    content: Option<String>,
    refusal: Option<String>,
}

/// Reads an answer of either dialect. Of several choices only the one with index 0 is one: no more was asked for. What
/// `usage` does not say, or says as anything but a plausible count, is 0 tokens.
///
/// A `finish_reason` that nobody documents counts as a cut, since taking half an answer for a whole one is the worse
/// mistake; none at all is the end of the text.
pub fn completion(body: &str) -> Result<Completion, Failure> {
    let unreadable = |error: String| Failure::from(Passing::new(Kind::Unreadable, error));
    let refused = |error: String| Failure::Final(BackendError::Request(error));
    let response: Response = serde_json::from_str(body)
        .map_err(|error| unreadable(format!("the server's answer cannot be read: {error}")))?;
    let choice = response
        .choices
        .into_iter()
        .find(|choice| choice.index.unwrap_or(0) == 0)
        .ok_or_else(|| unreadable("the server's answer has no choices".to_string()))?;
    let finish_reason = match choice.finish_reason.as_deref() {
        None | Some("stop" | "eos" | "eos_token" | "stop_sequence" | "end_turn") => FinishReason::Stop,
        // vLLM on its way down, and routers whose upstream failed.
        Some(word @ ("abort" | "error" | "cancelled")) => {
            let error = format!("the server gave up on its answer: finish_reason is '{word}'");
            return Err(Passing::new(Kind::Broken, error).into());
        }
        Some("content_filter") => {
            return Err(refused(
                "the server's content filter held the answer back".to_string(),
            ));
        }
        Some(_) => FinishReason::Length,
    };
    let reply = choice.message.unwrap_or(Reply {
        content: None,
        refusal: None,
    });
    if let Some(refusal) = reply.refusal.filter(|refusal| !refusal.is_empty()) {
        return Err(refused(format!("the model refused: '{}'", excerpt(&refusal))));
    }
    let text = choice
        .text
        .or(reply.content)
        .ok_or_else(|| unreadable("the server's answer has no text".to_string()))?;
    let tokens = |name: &str| {
        let count = response.usage.get(name).and_then(Value::as_u64);
        count.and_then(|n| u32::try_from(n).ok()).unwrap_or(0) as usize
    };
    Ok(Completion {
        text,
        finish_reason,
        prompt_tokens: tokens("prompt_tokens"),
        completion_tokens: tokens("completion_tokens"),
    })
}

/// The server's own words about an error: `error.message` where it speaks OpenAI's dialect.
pub fn error_message(body: &str) -> String {
    let value: Option<Value> = serde_json::from_str(body).ok();
    let message = value.as_ref().and_then(|value| {
        let error = value.get("error").unwrap_or(value);
        error
            .get("message")
            .or(error.get("detail"))
            .unwrap_or(error)
            .as_str()
    });
    message.unwrap_or(body).to_string()
}

/// Whether the error says that the account is used up (OpenAI's 429 that no waiting helps).
pub fn is_out_of_quota(body: &str) -> bool {
    let value: Value = serde_json::from_str(body).unwrap_or_default();
    ["code", "type"]
        .iter()
        .any(|name| value["error"][name] == "insufficient_quota")
}

/// The first 300 characters on one line. What a server sends may hold control sequences for a terminal; they are
/// taken out.
pub fn excerpt(text: &str) -> String {
    let line = |text: &str| text.replace(char::is_control, " ");
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

    /// What became of an answer: its text and end, or a word for the failure and what it says.
    fn read(body: Value) -> (String, String) {
        match completion(&body.to_string()) {
            Ok(completion) => (completion.text, completion.finish_reason.as_str().to_string()),
            Err(Failure::Passing(passing)) => (format!("{:?}", passing.kind), passing.error),
            Err(Failure::Final(BackendError::Request(error))) => ("request".to_string(), error),
            Err(Failure::Final(other)) => ("fatal".to_string(), other.to_string()),
        }
    }

    #[test]
    fn answers_are_read() {
        let body = r#"{"choices":[{"text":" Rome","finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
        let rome = completion(body).unwrap();
        assert_eq!(
            (rome.text.as_str(), rome.finish_reason, rome.prompt_tokens),
            (" Rome", FinishReason::Length, 3)
        );
        let chat = json!({"choices": [{"message": {"role": "assistant", "content": "Rome"}}]});
        assert_eq!(read(chat), ("Rome".into(), "stop".into()));
        // Duplicates, in any order: the first with index 0.
        let several = json!({"choices": [{"index": 1, "text": "b"}, {"index": 0, "text": "a"}, {"index": 0, "text": "c"}]});
        assert_eq!(read(several).0, "a");
    }

    #[test]
    fn every_end_has_its_meaning() {
        let ended = |word: Value| read(json!({"choices": [{"text": "t", "finish_reason": word}]}));
        for word in ["stop", "eos", "eos_token", "stop_sequence"] {
            assert_eq!(ended(word.into()), ("t".into(), "stop".into()), "{word}");
        }
        assert_eq!(ended(Value::Null).1, "stop");
        for word in ["length", "max_tokens", "model_length", "a_new_word"] {
            assert_eq!(ended(word.into()), ("t".into(), "length".into()), "{word}");
        }
        assert_eq!(ended("abort".into()).0, "Broken");
        let (kind, error) = ended("content_filter".into());
        assert!(kind == "request" && error.contains("content filter"), "{error}");
        let refusal = json!({"choices": [{"message": {"content": null, "refusal": "I will not."}}]});
        assert_eq!(
            read(refusal),
            ("request".into(), "the model refused: 'I will not.'".into())
        );
    }

    #[test]
    fn odd_counts_are_no_counts() {
        for usage in [
            json!(null),
            json!([]),
            json!({}),
            json!({"prompt_tokens": null}),
            json!({"prompt_tokens": -1}),
            json!({"prompt_tokens": 1e99}),
            json!({"prompt_tokens": u64::MAX}),
        ] {
            let body = json!({"choices": [{"text": "t"}], "usage": usage}).to_string();
            assert_eq!(completion(&body).unwrap().prompt_tokens, 0, "{body}");
        }
    }

    #[test]
    fn what_is_no_answer_is_said() {
        for (body, wanted) in [
            (json!({"choices": []}), "no choices"),
            (json!({"choices": [{"index": 3, "text": "t"}]}), "no choices"),
            (json!({"choices": [{"finish_reason": "stop"}]}), "no text"),
            (json!({"choices": [{"message": {"content": null}}]}), "no text"),
            (json!("<html>"), "cannot be read"),
            (json!({"choices": [{"text": 1}]}), "cannot be read"),
        ] {
            let (kind, error) = read(body);
            assert!(kind == "Unreadable" && error.contains(wanted), "{kind}: {error}");
        }
        assert!(completion(r#"{"choices":[{"text":"Ro"#).is_err());
    }

    #[test]
    fn the_server_s_words_are_found() {
        assert_eq!(error_message(r#"{"error":{"message":"bad key"}}"#), "bad key");
        assert_eq!(error_message(r#"{"detail":"Not Found"}"#), "Not Found");
        assert_eq!(error_message("nope"), "nope");
        assert!(is_out_of_quota(r#"{"error":{"code":"insufficient_quota"}}"#));
        assert!(!is_out_of_quota(r#"{"error":{"code":"rate_limit_exceeded"}}"#));
        assert!(!is_out_of_quota("[]"));
        assert_eq!(excerpt("a\u{1b}[2Jb\nc "), "a [2Jb c");
        assert_eq!(excerpt(&"é".repeat(301)), format!("{}…", "é".repeat(300)));
    }
}
