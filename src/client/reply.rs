//! What comes back, in the dialects that servers speak: OpenAI documents one, and few speak exactly that.

use super::failure::{Failure, Kind, Passing};
use super::key::Secrets;
use super::lenient::{repaired, unmarked};
use super::wire::{error_message, excerpt};
use crate::backend::{Completion, FinishReason};
use serde::Deserialize;
use serde_json::Value;

/// A model's answer as the server handed it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The text, reasoning within it included.
    pub text: String,
    /// Whether there was a text at all, if only an empty one.
    pub has_text: bool,
    /// Reasoning that stood in a field of its own.
    pub reasoning: String,
    /// Why the text is no answer.
    pub refusal: Option<String>,
    /// How it ended.
    pub end: End,
    /// Tokens of the prompt; 0 where nobody says.
    pub prompt_tokens: usize,
    /// Tokens of the answer; 0 where nobody says.
    pub completion_tokens: usize,
}

/// How an answer ended, as far as the server says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Stop,
    /// At its token limit.
    Length,
    /// With nothing said.
    Unsaid,
    /// With a word that nobody knows.
    Unknown(String),
}

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    usage: Value,
    #[serde(default)]
    error: Value,
}

/// A choice of either dialect.
#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: Value,
    #[serde(default)]
    text: Value,
    #[serde(default, alias = "delta")]
    message: Value,
    #[serde(default)]
    reasoning_content: Value,
    #[serde(default)]
    reasoning: Value,
    #[serde(default, alias = "finishReason")]
    finish_reason: Value,
}

/// Reads an answer of either dialect. Of several choices only the one with index 0 is one: no more was asked for. What
/// `usage` does not say, or says as anything but a plausible count, is 0 tokens.
pub fn read(body: &[u8]) -> Result<Reply, Failure> {
    let unreadable = |error: String| Failure::from(Passing::new(Kind::Unreadable, error));
    let body = unmarked(body);
    let response: Response = serde_json::from_slice(body)
        .or_else(|error| serde_json::from_slice(&repaired(body)).map_err(|_| error))
        .map_err(|error| unreadable(format!("the server's answer cannot be read: {error}")))?;
    let Some(choice) = response
        .choices
        .into_iter()
        .flatten()
        .find(|choice| choice.index.as_u64().unwrap_or(0) == 0)
    else {
        return Err(unreadable(match response.error {
            Value::Null => "the server's answer has no choices".to_string(),
            error => format!(
                "the server answered with an error: {}",
                excerpt(&error_message(&error.to_string()))
            ),
        }));
    };
    let mut parts = Parts::default();
    let message = match choice.message {
        Value::Object(message) => message,
        Value::Null => Default::default(),
        text => [("content".to_string(), text)].into_iter().collect(),
    };
    let told = parts.take(&choice.text).and_then(|()| match choice.text {
        Value::Null => message
            .get("content")
            .map_or(Ok(()), |content| parts.take(content)),
        _ => Ok(()),
    });
    told.map_err(|kind| unreadable(format!("the server's answer cannot be read: its text is {kind}")))?;
    let apart = ["reasoning_content", "reasoning", "reasoning_details", "thinking"];
    let apart = apart.iter().filter_map(|name| message.get(*name));
    for reasoning in [&choice.reasoning_content, &choice.reasoning]
        .into_iter()
        .chain(apart)
    {
        if parts.reasoning.is_empty() {
            parts.take_reasoning(reasoning);
        }
    }
    if let Some(refusal) = message.get("refusal") {
        parts.take_refusal(refusal);
    }
    let raw = match &choice.finish_reason {
        Value::String(word) => word.clone(),
        other => other.to_string(),
    };
    let (end, held_back) = match meaning(&finish_word(&choice.finish_reason)) {
        Meaning::End(end) => (end, None),
        Meaning::Unknown => (End::Unknown(raw), None),
        // vLLM on its way down, and routers whose upstream failed.
        Meaning::GivenUp => {
            let error = format!(
                "the server gave up on its answer: finish_reason is '{}'",
                excerpt(&raw)
            );
            return Err(Passing::new(Kind::Broken, error).into());
        }
        Meaning::HeldBack => (
            End::Stop,
            Some("the server's content filter held the answer back".to_string()),
        ),
        Meaning::Called if parts.text.trim().is_empty() => (
            End::Stop,
            Some("the model called a tool in place of an answer".to_string()),
        ),
        Meaning::Called => (End::Stop, None),
    };
    let refused = !parts.refusal.trim().is_empty();
    let refusal = refused.then(|| format!("the model refused: '{}'", excerpt(&parts.refusal)));
    let tokens = |names: [&str; 2]| {
        let counts = names.iter().filter_map(|name| response.usage.get(name)?.as_u64());
        counts
            .filter_map(|count| u32::try_from(count).ok())
            .next()
            .unwrap_or(0) as usize
    };
    Ok(Reply {
        text: parts.text,
        has_text: parts.has_text,
        reasoning: parts.reasoning,
        refusal: refusal.or(held_back),
        end,
        prompt_tokens: tokens(["prompt_tokens", "input_tokens"]),
        completion_tokens: tokens(["completion_tokens", "output_tokens"]),
    })
}

impl Reply {
    /// The answer to a request that allowed so many tokens. Where the server does not say how it ended, or says a word
    /// that nobody knows, the number of tokens decides; where that is not known either, an unknown word is a cut, since
    /// taking half an answer for a whole one is the worse mistake, and none at all is the end of the text.
    pub fn completion(self, most_tokens: usize) -> Completion {
        let used = self.completion_tokens;
        let is_cut = match self.end {
            End::Stop => false,
            End::Length => true,
            End::Unsaid => used > 0 && used >= most_tokens,
            End::Unknown(_) => used == 0 || used >= most_tokens,
        };
        Completion {
            text: self.text,
            finish_reason: if is_cut {
                FinishReason::Length
            } else {
                FinishReason::Stop
            },
            reasoning: self.reasoning,
            refusal: self.refusal,
            prompt_tokens: self.prompt_tokens,
            completion_tokens: used,
        }
    }

    /// The reply without what nobody may see.
    pub fn redacted(mut self, secrets: &Secrets) -> Reply {
        for text in [&mut self.text, &mut self.reasoning]
            .into_iter()
            .chain(self.refusal.as_mut())
        {
            *text = secrets.redact_answer(text);
        }
        if let End::Unknown(word) = &mut self.end {
            *word = secrets.redact(word);
        }
        self
    }
}

/// What the parts of a content say together.
#[derive(Default)]
struct Parts {
    text: String,
    has_text: bool,
    reasoning: String,
    refusal: String,
}

impl Parts {
    /// Adds a content: a text, a part, a list of parts. The error says what it is instead.
    fn take(&mut self, content: &Value) -> Result<(), &'static str> {
        match content {
            Value::Null => {}
            Value::String(text) => {
                self.text.push_str(text);
                self.has_text = true;
            }
            Value::Array(parts) => parts.iter().try_for_each(|part| self.take(part))?,
            Value::Object(part) => {
                let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
                let kind = kind.to_ascii_lowercase();
                if kind.contains("think") || kind.contains("reason") {
                    self.take_reasoning(content);
                } else if kind.contains("refusal") {
                    part.get("refusal")
                        .or(part.get("text"))
                        .into_iter()
                        .for_each(|text| self.take_refusal(text));
                } else {
                    let text = ["text", "content", "value"]
                        .iter()
                        .find_map(|name| part.get(*name));
                    text.map_or(Ok(()), |text| self.take(text))?;
                }
            }
            Value::Bool(_) => return Err("a truth value"),
            Value::Number(_) => return Err("a number"),
        }
        Ok(())
    }

    /// Adds what was thought, in whatever shape it comes.
    fn take_reasoning(&mut self, reasoning: &Value) {
        match reasoning {
            Value::String(text) => self.reasoning.push_str(text),
            Value::Array(parts) => parts.iter().for_each(|part| self.take_reasoning(part)),
            Value::Object(part) => {
                let said = ["thinking", "reasoning", "text", "summary", "content"];
                if let Some(said) = said.iter().find_map(|name| part.get(*name)) {
                    self.take_reasoning(said);
                }
            }
            _ => {}
        }
    }

    fn take_refusal(&mut self, refusal: &Value) {
        if let Value::String(text) = refusal {
            self.refusal.push_str(text);
        }
    }
}

/// The word for an end, in lower case, with `_` between its words and without the name of its type.
fn finish_word(reason: &Value) -> String {
    let word = match reason {
        Value::Null => "",
        Value::String(word) => word,
        // SGLang's own endpoint, and those made after it.
        Value::Object(reason) => ["type", "reason", "kind"]
            .iter()
            .find_map(|name| reason.get(*name)?.as_str())
            .unwrap_or("object"),
        other => return other.to_string(),
    };
    let mut snake = String::new();
    let mut before = ' ';
    for c in word.trim().chars() {
        if c.is_uppercase() && before.is_lowercase() {
            snake.push('_');
        }
        before = c;
        match c {
            '-' | ' ' | '.' => snake.push('_'),
            c => snake.extend(c.to_lowercase()),
        }
    }
    let snake = snake.strip_prefix("finish_reason_").unwrap_or(&snake);
    snake.strip_prefix("stop_reason_").unwrap_or(snake).to_string()
}

enum Meaning {
    End(End),
    /// Nobody knows.
    Unknown,
    /// The server failed.
    GivenUp,
    /// There is an answer that it does not tell.
    HeldBack,
    /// The model wants something to be done.
    Called,
}

/// What a word for an end means, by the documents of the services that use it, or else by its parts.
fn meaning(word: &str) -> Meaning {
    let has = |parts: &[&str]| parts.iter().any(|part| word.contains(part));
    match word {
        "" | "null" | "none" | "unspecified" | "unknown" => Meaning::End(End::Unsaid),
        "stop" | "stopped" | "stop_sequence" | "stop_token" | "stop_word" | "stop_string" | "eos"
        | "eos_token" | "eot" | "eom" | "end" | "ended" | "end_turn" | "end_of_turn" | "end_of_text"
        | "endoftext" | "complete" | "completed" | "completion" | "done" | "finish" | "finished"
        | "success" | "succeeded" | "normal" | "natural" | "ok" | "pause_turn" => Meaning::End(End::Stop),
        _ if has(&[
            "filter",
            "safety",
            "recitation",
            "blocklist",
            "prohibited",
            "spii",
            "guardrail",
            "moderat",
            "refus",
            "sensitive",
        ]) =>
        {
            Meaning::HeldBack
        }
        _ if has(&["tool", "function", "call"]) => Meaning::Called,
        _ if has(&[
            "abort",
            "error",
            "cancel",
            "fail",
            "timeout",
            "timed_out",
            "malformed",
        ]) =>
        {
            Meaning::GivenUp
        }
        "limit" => Meaning::End(End::Length),
        _ if has(&[
            "length",
            "max",
            "token_limit",
            "tokens",
            "context",
            "truncat",
            "incomplete",
            "exceed",
        ]) =>
        {
            Meaning::End(End::Length)
        }
        _ if has(&["stop", "eos", "end_of", "end_turn", "complete", "finish", "eot"]) => {
            Meaning::End(End::Stop)
        }
        _ => Meaning::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What became of an answer: its text and end, or a word for the failure and what it says.
    fn told(body: Value) -> (String, String) {
        match read(body.to_string().as_bytes()).map(|reply| reply.completion(100)) {
            Ok(Completion {
                refusal: Some(words), ..
            }) => ("refused".to_string(), words),
            Ok(completion) => (completion.text, completion.finish_reason.as_str().to_string()),
            Err(Failure::Passing(passing)) => (format!("{:?}", passing.kind), passing.error),
            Err(Failure::Final(other)) => ("final".to_string(), other.to_string()),
        }
    }

    #[test]
    fn answers_are_read() {
        let body = br#"{"choices":[{"text":" Rome","finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
        let rome = read(body).unwrap();
        assert_eq!(
            (rome.text.as_str(), &rome.end, rome.prompt_tokens),
            (" Rome", &End::Length, 3)
        );
        let chat = json!({"choices": [{"message": {"role": "assistant", "content": "Rome"}}]});
        assert_eq!(told(chat), ("Rome".into(), "stop".into()));
        // Duplicates, in any order: the first with index 0.
        let several = json!({"choices": [{"index": 1, "text": "b"}, {"index": 0, "text": "a"}, {"index": 0, "text": "c"}]});
        assert_eq!(told(several).0, "a");
    }

    #[test]
    fn every_end_has_its_meaning() {
        let ended = |word: Value| told(json!({"choices": [{"text": "t", "finish_reason": word}]}));
        for word in [
            "stop",
            "STOP",
            "Stop",
            "eos",
            "eos_token",
            "EOS_TOKEN",
            "stop_sequence",
            "end",
            "END",
            "complete",
            "COMPLETE",
            "end_turn",
            "endTurn",
            "end-of-text",
            "FINISH_REASON_STOP",
            "finished",
            "eos_found",
            "",
            " ",
            "None",
            "FINISH_REASON_UNSPECIFIED",
        ] {
            assert_eq!(ended(word.into()), ("t".into(), "stop".into()), "{word}");
        }
        assert_eq!(ended(Value::Null).1, "stop");
        assert_eq!(ended(json!({"type": "stop", "matched": 2})).1, "stop");
        for word in [
            "length",
            "LENGTH",
            "max_tokens",
            "MAX_TOKENS",
            "maxTokens",
            "max_length",
            "model_length",
            "model_context_window_exceeded",
            "token_limit",
            "truncated",
            "incomplete",
            "max_output_tokens",
            "a_new_word",
        ] {
            assert_eq!(ended(word.into()), ("t".into(), "length".into()), "{word}");
        }
        assert_eq!(ended(json!({"type": "length", "length": 9})).1, "length");
        for word in ["abort", "error", "cancelled", "canceled", "ERROR"] {
            assert_eq!(ended(word.into()).0, "Broken", "{word}");
        }
        for word in [
            "content_filter",
            "SAFETY",
            "PROHIBITED_CONTENT",
            "guardrail_intervened",
        ] {
            let (kind, error) = ended(word.into());
            assert!(kind == "refused" && error.contains("content filter"), "{error}");
        }
        for word in ["tool_calls", "function_call"] {
            assert_eq!(ended(word.into()).1, "stop");
        }
    }

    #[test]
    fn where_the_word_is_missing_or_unknown_tokens_decide() {
        let ended = |word: Value, used: u64| {
            told(json!({"choices": [{"text": "t", "finish_reason": word}], "usage": {"completion_tokens": used}})).1
        };
        for word in [json!("a_new_word"), Value::Null, json!("")] {
            assert_eq!(ended(word.clone(), 99), "stop");
            assert_eq!(ended(word, 100), "length");
        }
    }

    #[test]
    fn content_comes_in_many_shapes() {
        for content in [
            json!("Rome"),
            json!([{"type": "text", "text": "Ro"}, {"type": "text", "text": "me"}]),
            json!([{"type": "output_text", "text": "Rome", "annotations": []}]),
            json!([{"type": "text", "text": {"value": "Rome", "annotations": []}}]),
            json!(["Ro", "me"]),
            json!({"text": "Rome"}),
            json!([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Rome"}]),
            json!([{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "Rome"}]),
        ] {
            for body in [
                json!({"choices": [{"message": {"content": content}}]}),
                json!({"choices": [{"text": content}]}),
                json!({"choices": [{"delta": {"content": content}}]}),
            ] {
                assert_eq!(told(body.clone()).0, "Rome", "{body}");
            }
        }
    }

    #[test]
    fn reasoning_is_apart_from_the_text() {
        for message in [
            json!({"content": "Rome", "reasoning_content": "hm"}),
            json!({"content": "Rome", "reasoning": "hm"}),
            json!({"content": "Rome", "reasoning": "hm", "reasoning_content": "hm"}),
            json!({"content": "Rome", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}),
            json!({"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Rome"}]}),
        ] {
            let reply = read(
                json!({"choices": [{ "message": message }]})
                    .to_string()
                    .as_bytes(),
            )
            .unwrap();
            assert_eq!((reply.text.as_str(), reply.reasoning.as_str()), ("Rome", "hm"));
        }
        let nothing = json!({"choices": [{"message": {"content": null, "reasoning": "hm"}, "finish_reason": "length"}]});
        let reply = read(nothing.to_string().as_bytes()).unwrap();
        assert!(!reply.has_text);
        let empty = reply.completion(100).emptiness().unwrap();
        assert!(empty.contains("reasoning used up"), "{empty}");
    }

    #[test]
    fn what_is_no_answer_to_be_read_is_said() {
        for message in [
            json!({"content": null, "refusal": "I will not."}),
            json!({"content": [{"type": "refusal", "refusal": "I will not."}]}),
        ] {
            let refusal = json!({"choices": [{ "message": message }]});
            assert_eq!(
                told(refusal),
                ("refused".into(), "the model refused: 'I will not.'".into())
            );
        }
        let call = json!({"choices": [{"message": {"content": null, "tool_calls": []}, "finish_reason": "tool_calls"}]});
        assert!(told(call).1.contains("called a tool"));
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
            assert_eq!(read(body.as_bytes()).unwrap().prompt_tokens, 0, "{body}");
        }
    }

    #[test]
    fn parts_that_nobody_reads_may_be_anything() {
        let body =
            |part: &str| format!("{{\"choices\":[{{\"text\":\"t\",\"logprobs\":{part}}}]}}").into_bytes();
        for part in [
            "NaN",
            "[-Infinity]",
            "{\"token\":\"\\ud83d\"}",
            "{\"\\ud83d\":1}",
            "\"a\nb\"",
        ] {
            assert_eq!(read(&body(part)).unwrap().text, "t", "{part}");
        }
        let mut raw = body("\"#\"");
        let at = raw.iter().position(|byte| *byte == b'#').unwrap();
        raw[at] = 0xff;
        assert_eq!(read(&raw).unwrap().text, "t");
        let marked = [b"\xef\xbb\xbf".to_vec(), body("1")].concat();
        assert_eq!(read(&marked).unwrap().text, "t");
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for (body, wanted) in [
            (json!({"choices": []}), "no choices"),
            (json!({"choices": [{"index": 3, "text": "t"}]}), "no choices"),
            (
                json!({"error": {"message": "upstream is gone"}}),
                "upstream is gone",
            ),
            (json!("<html>"), "cannot be read"),
            (json!({"choices": [{"text": 1}]}), "cannot be read"),
        ] {
            let (kind, error) = told(body);
            assert!(kind == "Unreadable" && error.contains(wanted), "{kind}: {error}");
        }
        assert!(read(br#"{"choices":[{"text":"Ro"#).is_err());
        assert!(read(b"{\"choices\":[{\"text\":\"\xc3\"}]}").is_err());
        // Nothing is an empty answer.
        assert_eq!(told(json!({"choices": [{"finish_reason": "stop"}]})).0, "");
    }
}
