//! Lines of batch files, for OpenAI's batch service, which answers a day later at half the price:
//! one line per request, one per result, in any order. vLLM's `run-batch` reads and writes the
//! same.

use super::failure::RequestFailure;
use super::reply::{self, Reply};
use super::wire::{self, Dialect};
use crate::lenient_json::{repaired, unmarked};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Why a request of a batch has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// It was not sent, or failed for a while: it may be sent again.
    #[error("{0}")]
    Transient(String),
    /// It cannot be answered as it is.
    #[error("{error}")]
    Refused {
        /// The error, shortened.
        error: String,
        /// The whole body of the server's response.
        body: String,
    },
}

/// Returns the line for a request with this body, without a line break. `custom_id` comes back with
/// the result, and must be unique in the file.
pub fn request_line(custom_id: &str, dialect: Dialect, body: &Map<String, Value>) -> String {
    let url = format!("/v1{}", dialect.path());
    json!({"custom_id": custom_id, "method": "POST", "url": url, "body": body}).to_string()
}

#[derive(Deserialize)]
struct ResultLine {
    custom_id: String,
    response: Option<BatchResponse>,
    #[serde(default)]
    error: Value,
}

#[derive(Deserialize)]
struct BatchResponse {
    status_code: u16,
    #[serde(default)]
    body: Value,
}

/// Reads a line of results. Returns its `custom_id` and the answer.
///
/// # Errors
///
/// If the line is no result of any request.
pub fn result(line: &str) -> Result<(String, Result<Reply, Unanswered>), String> {
    let bytes = unmarked(line.as_bytes());
    let line: ResultLine = serde_json::from_slice(bytes)
        .or_else(|error| serde_json::from_slice(&repaired(bytes)).map_err(|_| error))
        .map_err(|error| format!("this is no result of a batch: {error}: '{}'", wire::excerpt(line)))?;
    Ok((line.custom_id, answer(line.response, &line.error)))
}

/// Returns the answer of a result, or why it has none.
fn answer(response: Option<BatchResponse>, error: &Value) -> Result<Reply, Unanswered> {
    let words = |value: &Value| wire::excerpt(&wire::error_message(&value.to_string()));
    let Some(response) = response else {
        return Err(Unanswered::Transient(match error {
            Value::Null => "there is neither a response nor an error".to_string(),
            error => format!("the batch did not ask it: {}", words(error)),
        }));
    };
    // vLLM's `run-batch` puts its error beside the response.
    let body = match response.body {
        Value::Null => error,
        ref body => body,
    };
    let error = || format!("the server answered {}: {}", response.status_code, words(body));
    match response.status_code {
        200..300 => reply::read(response.body.to_string().as_bytes()).map_err(|failure| match failure {
            RequestFailure::Permanent(error) => Unanswered::Refused {
                error: error.to_string(),
                body: String::new(),
            },
            RequestFailure::Transient(transient) => Unanswered::Transient(transient.error),
        }),
        400 | 413 | 422 => Err(Unanswered::Refused {
            error: error(),
            body: body.to_string(),
        }),
        _ => Err(Unanswered::Transient(error())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Sampling;

    #[test]
    fn a_request_is_one_line() {
        let sampling = Sampling {
            stop: vec!["\n\n".into()],
            ..Sampling::default()
        };
        let body = |dialect, prompt| wire::Request::new(dialect, "m", prompt, &sampling).fields();
        let line = request_line(
            "r-1",
            Dialect::Completions,
            &body(Dialect::Completions, "one\ntwo"),
        );
        assert!(!line.contains('\n'), "{line}");
        assert_eq!(
            serde_json::from_str::<Value>(&line).unwrap(),
            json!({"custom_id": "r-1", "method": "POST", "url": "/v1/completions", "body": {
                "model": "m", "prompt": "one\ntwo", "max_tokens": 256, "temperature": 0.7, "top_p": 1.0, "seed": 0,
                "stop": ["\n\n"]}})
        );
        let chat = request_line("r-2", Dialect::Chat, &body(Dialect::Chat, "p"));
        let chat: Value = serde_json::from_str(&chat).unwrap();
        assert_eq!(chat["url"], "/v1/chat/completions");
        assert_eq!(chat["body"]["messages"][1]["content"], "p");
    }

    /// Reads a line with the answer to request `r`.
    fn read(line: Value) -> Result<Reply, Unanswered> {
        let (custom_id, answer) = result(&line.to_string()).unwrap();
        assert_eq!(custom_id, "r");
        answer
    }

    #[test]
    fn results_of_both_dialects_are_read() {
        for choice in [
            json!({"text": " Rome", "finish_reason": "stop"}),
            json!({"message": {"content": " Rome"}}),
        ] {
            let answer = read(json!({"id": "batch_req_1", "custom_id": "r", "error": null,
                "response": {"status_code": 200, "request_id": "q", "body": {"choices": [choice],
                    "usage": {"prompt_tokens": 5, "completion_tokens": 1}}}}));
            let answer = answer.unwrap();
            assert_eq!((answer.text.as_str(), answer.prompt_tokens), (" Rome", 5));
        }
    }

    #[test]
    fn what_failed_says_whether_to_ask_again() {
        let response = |status: u16, body: Value| json!({"custom_id": "r", "response": {"status_code": status, "body": body}});
        let cases = [
            (
                json!({"custom_id": "r", "response": null,
                    "error": {"code": "batch_expired", "message": "This request could not be executed in time."}}),
                false,
                "could not be executed",
            ),
            (json!({"custom_id": "r"}), false, "neither"),
            (
                response(400, json!({"error": {"message": "too long"}})),
                true,
                "400: too long",
            ),
            (
                json!({"custom_id": "r", "response": {"status_code": 400, "request_id": "q"}, "error": "no such path"}),
                true,
                "400: no such path",
            ),
            (response(429, json!({"error": "slow"})), false, "429"),
            (response(500, Value::Null), false, "500"),
            (response(200, Value::Null), false, "cannot be read"),
            (response(200, json!({"choices": []})), false, "no choices"),
            (response(0, json!("?")), false, "answered 0"),
        ];
        for (line, refused, wanted) in cases {
            let shown = line.to_string();
            let error = read(line).unwrap_err();
            assert_eq!(matches!(error, Unanswered::Refused { .. }), refused, "{shown}");
            assert!(error.to_string().contains(wanted), "{shown}: {error}");
        }
    }

    #[test]
    fn hostile_lines_answer_nothing() {
        for line in [
            "",
            "\u{0}",
            "{}",
            "[]",
            "null",
            r#"{"custom_id": 7, "response": null}"#,
            r#"{"custom_id": "r", "response": {"status_code": "200"}}"#,
            r#"{"custom_id": "r", "response": {"status_code": 99999}}"#,
            r#"{"custom_id": "r", "custom_id": "s", "response": null}"#,
            r#"{"custom_id": "r", "response": {"status_code": 200, "body": {"choices": [{"te"#,
            r#"{"custom_id": "r"} {"custom_id": "s"}"#,
            &"[".repeat(100_000),
        ] {
            let error = result(line).unwrap_err();
            assert!(
                error.starts_with("this is no result of a batch") && error.len() < 1000,
                "{error}"
            );
        }
    }
}
