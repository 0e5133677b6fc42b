//! `/v1/completions` as OpenAI documents it, with the sampling parameters that vLLM and llama.cpp add.

use crate::backend::{Completion, FinishReason, Sampling};
use serde::{Deserialize, Serialize};

/// The body of a request. Parameters at the value that changes nothing are left out: servers refuse what they do not
/// know.
#[derive(Debug, Serialize)]
pub struct CompletionRequest<'a> {
    model: &'a str,
    prompt: &'a str,
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

impl<'a> CompletionRequest<'a> {
    /// Asks `model` to continue `prompt`.
    pub fn new(model: &'a str, prompt: &'a str, sampling: &'a Sampling) -> Self {
        CompletionRequest {
            model,
            prompt,
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
        }
    }
}

#[derive(Deserialize)]
struct CompletionResponse {
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    text: String,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: usize,
    #[serde(default)]
    completion_tokens: usize,
}

/// Reads an answer; the error says what is wrong with it.
pub fn completion(body: &str) -> Result<Completion, String> {
    let response: CompletionResponse = serde_json::from_str(body)
        .map_err(|error| format!("the server's answer cannot be read: {error}: '{}'", excerpt(body)))?;
    let choice = response
        .choices
        .into_iter()
        .next()
        .ok_or("the server's answer has no choices")?;
    let usage = response.usage.unwrap_or(Usage {
        prompt_tokens: 0,
        completion_tokens: 0,
    });
    Ok(Completion {
        text: choice.text,
        finish_reason: match choice.finish_reason.as_deref() {
            Some("length") => FinishReason::Length,
            _ => FinishReason::Stop,
        },
        prompt_tokens: usage.prompt_tokens,
        completion_tokens: usage.completion_tokens,
    })
}

/// The server's own words about an error: `error.message` where it speaks OpenAI's dialect.
pub fn error_message(body: &str) -> String {
    let value: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let message = value.as_ref().and_then(|value| {
        let error = value.get("error").unwrap_or(value);
        error
            .get("message")
            .or(error.get("detail"))
            .unwrap_or(error)
            .as_str()
    });
    excerpt(message.unwrap_or(body))
}

fn excerpt(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
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
        let body = serde_json::to_value(CompletionRequest::new("m", "p", &sampling)).unwrap();
        assert_eq!(
            body,
            serde_json::json!({"model": "m", "prompt": "p", "max_tokens": 256, "temperature": 0.7, "top_p": 1.0,
                "seed": 0, "stop": ["\n\n"]})
        );
    }

    #[test]
    fn answers_and_errors_are_read() {
        let body = r#"{"choices":[{"text":" Rome","finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
        let read = completion(body).unwrap();
        assert_eq!(
            (read.text.as_str(), read.finish_reason, read.prompt_tokens),
            (" Rome", FinishReason::Length, 3)
        );
        assert!(completion("{\"choices\":[]}").unwrap_err().contains("no choices"));
        assert!(completion("<html>").unwrap_err().contains("cannot be read"));
        assert_eq!(error_message(r#"{"error":{"message":"bad key"}}"#), "bad key");
        assert_eq!(error_message("nope"), "nope");
    }
}
