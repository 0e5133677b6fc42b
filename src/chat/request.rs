//! What a request asks for: the bodies of `/v1/completions` and `/v1/chat/completions`, with the sampling parameters that
//! vLLM and llama.cpp add, in either's spelling. What is not computed with is harmless, or refused ([`super::names`]).

use ewe::backend::Sampling;
use ewe::text::counted;
use serde_json::Value;

use super::error::ApiError;
use super::fields::{Fields, wrong};
use super::layout::Layout;
use super::messages::messages;
use super::names::{HARMLESS, UNSERVED, UNSERVED_CHAT, UNSERVED_COMPLETION, UNSERVED_IN_STREAM};
use crate::engine::batch::Wants;
use crate::model::chat_template::Message;

/// The most choices of one request, over all its prompts.
pub const MOST_CHOICES: usize = 128;

/// The most of the likeliest tokens that are told, as in OpenAI's chat and vLLM.
const MOST_LOGPROBS: u64 = 20;

/// The most stop strings, and the most bytes of one. Every token is compared with all of them.
const MOST_STOPS: usize = 128;
const LONGEST_STOP: usize = 1024;

/// What `/v1/completions` generates when nothing is said: OpenAI's default.
const DEFAULT_TOKENS: usize = 16;

/// What llama.cpp looks back at when nothing is said.
const DEFAULT_WINDOW: usize = 64;

/// A text to continue, or what it was made into already.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// A text.
    Text(String),
    /// Token ids.
    Ids(Vec<i64>),
}

/// A chat to answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    /// What was said.
    pub messages: Vec<Message>,
    /// How the template is to lay it out.
    pub layout: Layout,
}

/// What both endpoints share.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// The model that is asked for, if one is named.
    pub model: Option<String>,
    /// How to choose; its seed is that of the first choice.
    pub sampling: Sampling,
    /// What else the engine is to do.
    pub wants: Wants,
    /// Whether a limit of tokens was said.
    pub limited: bool,
    /// Whether a seed was said.
    pub seeded: bool,
    /// Choices for each prompt.
    pub choices: usize,
    /// Whether the answer is to come piece by piece.
    pub stream: bool,
    /// Whether a stream ends with the counts.
    pub usage: bool,
    /// Whether each text begins with its prompt.
    pub echo: bool,
    /// Whether texts are encoded with what the tokenizer puts around a whole text.
    pub special: bool,
}

impl ChatRequest {
    /// A body of `/v1/completions`, with its prompts.
    pub fn completion(body: &[u8]) -> Result<(ChatRequest, Vec<Prompt>), ApiError> {
        let mut fields = Fields::read(body)?;
        let prompts = prompts(&mut fields)?;
        let logprobs = match fields.take("logprobs") {
            None | Some(Value::Bool(false)) => None,
            Some(value) => match value.as_u64().filter(|&count| count <= MOST_LOGPROBS) {
                Some(count) => Some(count as usize),
                None => {
                    return Err(wrong(
                        "logprobs",
                        &value,
                        &format!("a whole number from 0 to {MOST_LOGPROBS}"),
                    ));
                }
            },
        };
        let echo = fields.flag("echo")?.unwrap_or(false);
        if echo && logprobs.is_some() {
            return Err(ApiError::parameter(
                "echo",
                "`echo` with `logprobs` is not served here: the prompt's own probabilities are not kept\nhint: `ewe score`",
            )
            .coded("unsupported_parameter"));
        }
        let special = fields.flag("add_special_tokens")?.unwrap_or(true);
        let mut order = ChatRequest::shared(&mut fields, DEFAULT_TOKENS)?;
        fields.end(HARMLESS, &[UNSERVED_COMPLETION, UNSERVED])?;
        (order.wants.logprobs, order.echo, order.special) = (logprobs, echo, special);
        within_choices(order.choices, prompts.len())?;
        Ok((order, prompts))
    }

    /// A body of `/v1/chat/completions`, with its conversation.
    pub fn chat(body: &[u8]) -> Result<(ChatRequest, Conversation), ApiError> {
        let mut fields = Fields::read(body)?;
        let messages = messages(&mut fields)?;
        let logprobs = fields.flag("logprobs")?.unwrap_or(false);
        let top = fields.count("top_logprobs", 0..=MOST_LOGPROBS)?;
        if top.is_some_and(|count| count > 0) && !logprobs {
            return Err(ApiError::parameter(
                "top_logprobs",
                "`top_logprobs` goes with `logprobs`: true",
            ));
        }
        match fields.take("modalities") {
            Some(value) if value != serde_json::json!(["text"]) => {
                return Err(wrong("modalities", &value, "[\"text\"]"));
            }
            _ => {}
        }
        let layout = Layout::take(&mut fields, &messages)?;
        let mut order = ChatRequest::shared(&mut fields, usize::MAX)?;
        fields.end(HARMLESS, &[UNSERVED_CHAT, UNSERVED])?;
        order.wants.logprobs = logprobs.then(|| top.unwrap_or(0));
        within_choices(order.choices, 1)?;
        Ok((order, Conversation { messages, layout }))
    }

    fn shared(fields: &mut Fields, max_tokens: usize) -> Result<ChatRequest, ApiError> {
        let choices = fields
            .one_of(&["n", "n_cmpl"], |fields, name| {
                fields.count(name, 1..=MOST_CHOICES as u64)
            })?
            .map_or(1, |(_, choices)| choices);
        if let Some(best) = fields.count("best_of", 1..=MOST_CHOICES as u64)?
            && best != choices
        {
            return Err(ApiError::parameter(
                "best_of",
                format!("`best_of` is {best}, and is not served here other than equal to `n`"),
            )
            .coded("unsupported_parameter"));
        }
        let said = limit(fields, max_tokens)?;
        let least = fields.count("min_tokens", 0..=u64::MAX)?.unwrap_or(0);
        if least > said.most {
            return Err(ApiError::parameter(
                "min_tokens",
                format!(
                    "`min_tokens` is {least}, which is more than the limit of {}\nhint: a larger `max_tokens`",
                    counted(said.most, "token")
                ),
            ));
        }
        let stream = fields.flag("stream")?.unwrap_or(false);
        let usage = match fields.object("stream_options")? {
            None => false,
            Some(mut options) => {
                let usage = options.flag("include_usage")?.unwrap_or(false);
                options.end(&[], &[UNSERVED_IN_STREAM])?;
                if !stream {
                    return Err(ApiError::parameter(
                        "stream_options",
                        "`stream_options` goes with `stream`: true\nhint: a whole answer has `usage` anyway",
                    ));
                }
                usage
            }
        };
        let seed = seed(fields)?;
        let (repetition_penalty, repetition_window) = repetition(fields)?;
        let number = |value: Option<f64>, default| value.unwrap_or(default);
        Ok(ChatRequest {
            model: named(fields)?,
            sampling: Sampling {
                max_tokens: said.most,
                temperature: number(fields.number("temperature", 0.0..=100.0)?, 1.0),
                top_p: number(fields.number("top_p", 0.0..=1.0)?, 1.0),
                top_k: top_k(fields)?,
                min_p: number(fields.number("min_p", 0.0..=1.0)?, 0.0),
                presence_penalty: number(fields.number("presence_penalty", -10.0..=10.0)?, 0.0),
                frequency_penalty: number(fields.number("frequency_penalty", -10.0..=10.0)?, 0.0),
                repetition_penalty,
                stop: stops(fields)?,
                seed: seed.unwrap_or(0),
                ignore_eos: fields.flag("ignore_eos")?.unwrap_or(false),
                schema: None,
            },
            wants: Wants {
                logprobs: None,
                min_tokens: least,
                repetition_window,
            },
            limited: said.is_typed,
            seeded: seed.is_some(),
            choices,
            stream,
            usage,
            echo: false,
            special: true,
        })
    }
}

/// The most tokens of an answer.
struct Limit {
    most: usize,
    /// Whether it was said, so that an answer for which there is no room must be refused.
    is_typed: bool,
}

/// The limit in any of its spellings, `default` where nothing is said; llama.cpp's -1 says that there is none.
fn limit(fields: &mut Fields, default: usize) -> Result<Limit, ApiError> {
    const NAMES: [&str; 4] = [
        "max_completion_tokens",
        "max_tokens",
        "n_predict",
        "max_new_tokens",
    ];
    let said = fields.one_of(&NAMES, |fields, name| {
        let Some(value) = fields.take(name) else {
            return Ok(None);
        };
        match (value.as_u64(), value.as_i64()) {
            (Some(limit), _) => Ok(Some(Some(usize::try_from(limit).unwrap_or(usize::MAX)))),
            (None, Some(-1)) if name == "n_predict" => Ok(Some(None)),
            _ => Err(fields.wrong(name, &value, "a whole number of at least 0")),
        }
    })?;
    let (most, is_typed) = match said {
        None => (default, false),
        Some((_, None)) => (usize::MAX, false),
        Some((_, Some(most))) => (most, true),
    };
    Ok(Limit { most, is_typed })
}

/// The model that is asked for. An empty name, which some clients send, names none.
fn named(fields: &mut Fields) -> Result<Option<String>, ApiError> {
    match fields.take("model") {
        None => Ok(None),
        Some(Value::String(name)) => Ok(Some(name).filter(|name| !name.is_empty())),
        Some(other) => Err(wrong("model", &other, "a model's name")),
    }
}

/// A seed; none where llama.cpp's -1 says that chance decides.
fn seed(fields: &mut Fields) -> Result<Option<u64>, ApiError> {
    Ok(fields.seed("seed")?.filter(|&seed| seed != u64::MAX))
}

fn top_k(fields: &mut Fields) -> Result<usize, ApiError> {
    // vLLM writes "off" as -1.
    match fields.take("top_k") {
        None => Ok(0),
        Some(value) => match (value.as_u64(), value.as_i64()) {
            (Some(k), _) => Ok(usize::try_from(k).unwrap_or(usize::MAX)),
            (None, Some(-1)) => Ok(0),
            _ => Err(fields.wrong("top_k", &value, "a whole number of at least 0")),
        },
    }
}

/// The repetition penalty, and how many tokens it looks back at: all of them by vLLM's name, 64 by llama.cpp's unless told.
fn repetition(fields: &mut Fields) -> Result<(f64, Option<usize>), ApiError> {
    let names = ["repetition_penalty", "repeat_penalty"];
    let penalty = fields.one_of(&names, |fields, name| fields.number(name, 0.01..=100.0))?;
    let back = fields
        .one_of(&["repeat_last_n", "penalty_last_n"], |fields, name| {
            let Some(value) = fields.take(name) else {
                return Ok(None);
            };
            match (value.as_u64(), value.as_i64()) {
                (Some(back), _) => Ok(Some(Some(usize::try_from(back).unwrap_or(usize::MAX)))),
                (None, Some(-1)) => Ok(Some(None)),
                _ => Err(fields.wrong(name, &value, "a whole number of at least -1, which is all tokens")),
            }
        })?
        .map(|(_, back)| back);
    let window = match (penalty, back) {
        (_, Some(back)) => back,
        (Some(("repeat_penalty", _)), None) => Some(DEFAULT_WINDOW),
        _ => None,
    };
    Ok((penalty.map_or(1.0, |(_, penalty)| penalty), window))
}

/// `stop`, and what others call so.
fn stops(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    let mut stops = Vec::new();
    for name in ["stop", "stop_sequences"] {
        let more = fields.texts(name)?;
        if stops.len() + more.len() > MOST_STOPS {
            let message = format!(
                "`{name}` has {} texts, want at most {MOST_STOPS}",
                stops.len() + more.len()
            );
            return Err(ApiError::parameter(name, message));
        }
        if more.iter().any(String::is_empty) {
            let message = format!("`{name}` has an empty text, which stands everywhere\nhint: leave it away");
            return Err(ApiError::parameter(name, message));
        }
        if let Some(long) = more.iter().find(|text| text.len() > LONGEST_STOP) {
            let message = format!(
                "`{name}` has a text of {} bytes, want at most {LONGEST_STOP}",
                long.len()
            );
            return Err(ApiError::parameter(name, message));
        }
        stops.extend(more);
    }
    Ok(stops)
}

fn within_choices(choices: usize, prompts: usize) -> Result<(), ApiError> {
    if choices.saturating_mul(prompts) <= MOST_CHOICES {
        return Ok(());
    }
    Err(ApiError::parameter(
        "n",
        format!(
            "{} with {} each are more than {MOST_CHOICES} answers",
            counted(prompts, "prompt"),
            counted(choices, "choice")
        ),
    ))
}

/// A text, a list of texts, a list of token ids, or a list of such lists.
fn prompts(fields: &mut Fields) -> Result<Vec<Prompt>, ApiError> {
    const WANT: &str = "a text, token ids, or a list of either";
    let Some(value) = fields.take("prompt") else {
        return Err(ApiError::parameter("prompt", "`prompt` is missing"));
    };
    let ids = |list: &[Value]| {
        let ids: Option<Vec<i64>> = list.iter().map(Value::as_i64).collect();
        ids.filter(|ids| !ids.is_empty()).map(Prompt::Ids)
    };
    let one = |value: &Value| match value {
        Value::String(text) => Some(Prompt::Text(text.clone())),
        Value::Array(list) => ids(list),
        _ => None,
    };
    let prompts = match &value {
        Value::Array(list) if list.first().is_some_and(Value::is_number) => ids(list).map(|ids| vec![ids]),
        Value::Array(list) => list.iter().map(one).collect(),
        other => one(other).map(|prompt| vec![prompt]),
    };
    let prompts = prompts
        .filter(|prompts| !prompts.is_empty())
        .ok_or_else(|| wrong("prompt", &value, WANT))?;
    if prompts.len() > MOST_CHOICES {
        return Err(ApiError::parameter(
            "prompt",
            format!(
                "`prompt` has {} prompts, want at most {MOST_CHOICES}",
                prompts.len()
            ),
        ));
    }
    Ok(prompts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completion(body: &str) -> Result<(ChatRequest, Vec<Prompt>), ApiError> {
        ChatRequest::completion(body.as_bytes())
    }

    #[test]
    fn prompts_are_texts_or_token_ids_one_or_several() {
        let text = |text: &str| Prompt::Text(text.to_string());
        for (prompt, want) in [
            (r#""a""#, vec![text("a")]),
            (r#"["a", "b"]"#, vec![text("a"), text("b")]),
            ("[1, 2]", vec![Prompt::Ids(vec![1, 2])]),
            (
                "[[1], [2, 3]]",
                vec![Prompt::Ids(vec![1]), Prompt::Ids(vec![2, 3])],
            ),
        ] {
            let (_, prompts) = completion(&format!(r#"{{"prompt": {prompt}}}"#)).unwrap();
            assert_eq!(prompts, want);
        }
        for prompt in [
            "7",
            "{}",
            "[]",
            "[[]]",
            "[1.5]",
            r#"[1, "a"]"#,
            "[true]",
            r#"[["a"]]"#,
        ] {
            let refusal = completion(&format!(r#"{{"prompt": {prompt}}}"#)).unwrap_err();
            assert_eq!(refusal.param.as_deref(), Some("prompt"), "{prompt}");
        }
    }

    #[test]
    fn defaults_are_openais() {
        let (order, _) = completion(r#"{"prompt": "a", "model": "", "user": "y"}"#).unwrap();
        assert_eq!(order.model, None);
        assert_eq!((order.sampling.max_tokens, order.sampling.temperature), (16, 1.0));
        assert!(!order.limited && !order.seeded && !order.stream && order.wants == Wants::default());
        let (order, said) = ChatRequest::chat(
            br#"{"messages": [{"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                {"role": "user", "content": "c"}], "logprobs": true, "max_completion_tokens": 3}"#,
        )
        .unwrap();
        assert_eq!(
            said.messages,
            [Message::new("system", "ab"), Message::new("user", "c")]
        );
        assert_eq!((order.wants.logprobs, order.sampling.max_tokens), (Some(0), 3));
    }

    #[test]
    fn a_model_may_be_named() {
        let (order, _) = completion(r#"{"prompt": "a", "model": "x"}"#).unwrap();
        assert_eq!(order.model.as_deref(), Some("x"));
        let refusal = completion(r#"{"prompt": "a", "model": 5}"#).unwrap_err();
        assert_eq!(refusal.param.as_deref(), Some("model"));
    }

    #[test]
    fn what_is_not_served_is_refused_by_name() {
        for (field, name) in [
            (r#""suffix": "x""#, "suffix"),
            (r#""best_of": 2"#, "best_of"),
            (r#""logit_bias": {"5": 1}"#, "logit_bias"),
            (r#""tools": [{}]"#, "tools"),
            (r#""response_format": {"type": "json_object"}"#, "response_format"),
            (r#""regex": "a+""#, "regex"),
            (r#""typical_p": 0"#, "typical_p"),
            (r#""n_probs": 3"#, "n_probs"),
            (r#""echo": true, "logprobs": 1"#, "echo"),
        ] {
            let refusal = completion(&format!(r#"{{"prompt": "a", {field}}}"#)).unwrap_err();
            assert_eq!(
                (refusal.param.as_deref(), refusal.code),
                (Some(name), Some("unsupported_parameter"))
            );
        }
        let many = format!(r#"{{"prompt": [{}"a"], "n": 10}}"#, "\"a\",".repeat(12));
        assert!(completion(&many).unwrap_err().message.contains("128"));
        for message in [
            r#"{"role": "tool", "content": "x"}"#,
            r#"{"role": "user"}"#,
            r#"{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}"#,
            r#"{"role": "assistant", "content": "x", "tool_calls": [{}]}"#,
            "3",
        ] {
            let body = format!(r#"{{"messages": [{message}]}}"#);
            assert!(ChatRequest::chat(body.as_bytes()).is_err(), "{message}");
        }
    }
}
