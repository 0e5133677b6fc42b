//! The `finish_reason` of a response. Every server has its own values.

use serde_json::Value;

/// How an answer ended, as the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The model ended it, or a stop string did.
    Stop,
    /// It reached the token limit.
    Length,
    /// The server does not say.
    Unsaid,
    /// The server sent an unknown value.
    Unknown(String),
}

/// The meaning of a `finish_reason`.
pub(super) enum Meaning {
    /// The answer ended like this.
    End(End),
    /// The value is unknown.
    Unknown,
    /// The server failed.
    GivenUp,
    /// The server withholds the answer.
    HeldBack,
    /// The model calls a tool.
    Called,
}

impl Meaning {
    /// Interprets a `finish_reason`, a string or a nested value.
    pub(super) fn of(reason: &Value) -> Meaning {
        meaning(&word_of(reason))
    }
}

/// Whether a `finish_reason` is empty, as within a stream.
pub(super) fn is_unsaid(reason: &Value) -> bool {
    matches!(Meaning::of(reason), Meaning::End(End::Unsaid))
}

/// Returns a `finish_reason` in snake case, without the name of its enum.
fn word_of(reason: &Value) -> String {
    let word = match reason {
        Value::Null => "",
        Value::String(word) => word,
        Value::Array(reasons) => return reasons.first().map(word_of).unwrap_or_default(),
        // SGLang's native API and similar ones have an object with a type; enums of Rust are an
        // object with one key, the value.
        Value::Object(reason) => {
            let named = || {
                ["type", "reason", "kind"]
                    .iter()
                    .filter_map(|name| reason.get(*name))
            };
            let named = named().find(|word| !word.is_null()).or(named().next());
            let only = (reason.len() == 1).then(|| reason.keys().next()).flatten();
            return match (named, only) {
                (Some(word), _) => word_of(word),
                (None, Some(word)) => word_of(&word.as_str().into()),
                (None, None) => "object".to_string(),
            };
        }
        other => return other.to_string(),
    };
    let mut snake = String::new();
    let mut before = ' ';
    for c in word.trim_matches(|c: char| !c.is_alphanumeric()).chars() {
        if c.is_uppercase() && before.is_lowercase() {
            snake.push('_');
        }
        before = c;
        match c {
            c if c.is_alphanumeric() => snake.extend(c.to_lowercase()),
            _ if snake.ends_with('_') => {}
            _ => snake.push('_'),
        }
    }
    let snake = snake.strip_prefix("finish_reason_").unwrap_or(&snake);
    snake.strip_prefix("stop_reason_").unwrap_or(snake).to_string()
}

/// Interprets a value by the documentation of the services that use it, else by its parts.
fn meaning(word: &str) -> Meaning {
    let has = |parts: &[&str]| parts.iter().any(|part| word.contains(part));
    // Short words occur within other words.
    let is_one_of = |words: &[&str]| word.split('_').any(|part| words.contains(&part));
    match word {
        "" | "null" | "nil" | "none" | "undefined" | "unspecified" | "unknown" | "false" => {
            Meaning::End(End::Unsaid)
        }
        "ok" | "true" | "0" | "s" | "pause_turn" => Meaning::End(End::Stop),
        _ if has(&[
            "filter",
            "safety",
            "recitation",
            "block",
            "censor",
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
            "rate_limit",
            "overload",
        ]) =>
        {
            Meaning::GivenUp
        }
        _ if has(LENGTHS) || is_one_of(&["cut", "cap", "out"]) => Meaning::End(End::Length),
        _ if has(STOPS) || is_one_of(&["end", "ended", "eot", "eom", "eod", "halt"]) => {
            Meaning::End(End::Stop)
        }
        _ => Meaning::Unknown,
    }
}

/// Parts of values for an answer that was cut off, whatever ran out.
const LENGTHS: &[&str] = &[
    "length",
    "limit",
    "max",
    "tokens",
    "context",
    "truncat",
    "incomplete",
    "unfinish",
    "partial",
    "cutoff",
    "exceed",
    "exhaust",
    "overflow",
    "budget",
    "quota",
    "ceiling",
    "insufficient",
    "interrupt",
    "preempt",
    "shutdown",
    "shut_down",
    "unload",
    "disconnect",
];

/// Parts of values for an answer that is whole.
const STOPS: &[&str] = &[
    "stop", "eos", "end_of", "endof", "complet", "finish", "final", "success", "succeed", "done", "terminat",
    "normal", "natural", "halted", "停止", "完成",
];

#[cfg(test)]
mod tests {
    use super::super::tests::told;
    use serde_json::{Value, json};

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
            "end_token",
            "turn_end",
            "</s>",
            "<|im_end|>",
            "im_end",
            "eod",
            "terminated",
            "halt",
            "final",
            "SUCCEED",
            "ended_by_user",
            "nil",
            "undefined",
            "\u{200b}stop",
            "\"stop\"",
            "0 - stop",
            "FinishReason.STOP",
        ] {
            assert_eq!(ended(word.into()), ("t".into(), "stop".into()), "{word}");
        }
        for word in [
            Value::Null,
            json!({"type": "stop", "matched": 2}),
            json!({"stop": {}}),
            json!({"Stop": null}),
            json!({"type": null}),
            json!(["stop"]),
            json!([]),
            json!(true),
            json!(false),
            json!(0),
        ] {
            assert_eq!(ended(word.clone()).1, "stop", "{word}");
        }
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
            "insufficient_system_resource",
            "interrupted",
            "preempted",
            "shutdown",
            "partial",
            "cut",
            "cut_off",
            "overflow",
            "unfinished",
            "limit_reached",
            "out_of_tokens",
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

    /// 100 tokens are at least 100 bytes.
    #[test]
    fn fewer_bytes_than_tokens_were_not_cut() {
        let ended = |text: String, thoughts: &str| {
            let message = json!({"content": text, "reasoning": thoughts});
            told(json!({"choices": [{"message": message, "finish_reason": "a_new_word"}]})).1
        };
        assert_eq!(ended("t".repeat(99), ""), "stop");
        assert_eq!(ended("t".repeat(100), ""), "length");
        assert_eq!(ended("t".repeat(60), &"h".repeat(40)), "length");
        let cut = json!({"choices": [{"text": "t", "finish_reason": "interrupted"}]});
        assert_eq!(told(cut).1, "length");
    }
}
