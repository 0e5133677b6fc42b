//! What a request asks for: the bodies of `/v1/completions` and `/v1/chat/completions`, with the sampling parameters that
//! vLLM and llama.cpp add. What would change the answer and is not served is refused by name; what would not
//! (`user`, `metadata`, `model`) is passed over.

use ewe::backend::Sampling;
use serde_json::Value;

use super::fields::{Fields, wrong};
use super::refusal::Refusal;
use crate::model::chat_template::Message;

/// The most choices of one request, over all its prompts.
pub const MOST_CHOICES: usize = 128;

/// The most of the likeliest tokens that are told, as in OpenAI's chat and vLLM.
const MOST_LOGPROBS: u64 = 20;

/// What `/v1/completions` generates when nothing is said: OpenAI's default.
const DEFAULT_TOKENS: usize = 16;

const REFUSED: &[&str] = &[
    "suffix",
    "logit_bias",
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "response_format",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "grammar",
    "json_schema",
    "audio",
    "prediction",
    "web_search_options",
    "use_beam_search",
    "length_penalty",
    "min_tokens",
    "stop_token_ids",
    "bad_words",
    "allowed_token_ids",
    "prompt_logprobs",
    "include_stop_str_in_output",
    "prompt_embeds",
    "reasoning_effort",
    "mirostat",
    "dry_multiplier",
    "typical_p",
];

/// A text to continue, or what it was made into already.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// A text.
    Text(String),
    /// Token ids.
    Ids(Vec<i64>),
}

/// What both endpoints share.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// How to choose; its seed is that of the first choice.
    pub sampling: Sampling,
    /// Whether `max_tokens` was said.
    pub limited: bool,
    /// Whether a seed was said.
    pub seeded: bool,
    /// Choices for each prompt.
    pub choices: usize,
    /// Tell how likely tokens were, and so many of the likeliest.
    pub logprobs: Option<usize>,
    /// Whether the answer is to come piece by piece.
    pub stream: bool,
    /// Whether a stream ends with the counts.
    pub usage: bool,
    /// Whether each text begins with its prompt.
    pub echo: bool,
}

impl Order {
    /// A body of `/v1/completions`, with its prompts.
    pub fn completion(body: &[u8]) -> Result<(Order, Vec<Prompt>), Refusal> {
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
        let echo = fields.flag("echo")?;
        if echo && logprobs.is_some() {
            return Err(Refusal::parameter(
                "echo",
                "`echo` with `logprobs` is not served here: the prompt's own probabilities are not kept\nhint: `ewe score`",
            )
            .coded("unsupported_parameter"));
        }
        let mut order = Order::shared(fields, DEFAULT_TOKENS)?;
        (order.logprobs, order.echo) = (logprobs, echo);
        within_choices(order.choices, prompts.len())?;
        Ok((order, prompts))
    }

    /// A body of `/v1/chat/completions`, with its messages.
    pub fn chat(body: &[u8]) -> Result<(Order, Vec<Message>), Refusal> {
        let mut fields = Fields::read(body)?;
        let messages = messages(&mut fields)?;
        let wanted = fields.flag("logprobs")?;
        let top = fields.count("top_logprobs", 0..=MOST_LOGPROBS)?;
        if top.is_some_and(|count| count > 0) && !wanted {
            return Err(Refusal::parameter(
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
        fields.refuse(&["echo"])?;
        let mut order = Order::shared(fields, usize::MAX)?;
        order.logprobs = wanted.then(|| top.unwrap_or(0));
        within_choices(order.choices, 1)?;
        Ok((order, messages))
    }

    fn shared(mut fields: Fields, max_tokens: usize) -> Result<Order, Refusal> {
        fields.refuse(REFUSED)?;
        let choices = fields.count("n", 1..=MOST_CHOICES as u64)?.unwrap_or(1);
        if let Some(best) = fields.count("best_of", 1..=MOST_CHOICES as u64)?
            && best != choices
        {
            return Err(Refusal::parameter(
                "best_of",
                format!("`best_of` is {best}, and is not served here other than equal to `n`"),
            )
            .coded("unsupported_parameter"));
        }
        let said = fields.count("max_tokens", 0..=u64::MAX)?;
        let said = fields.count("max_completion_tokens", 0..=u64::MAX)?.or(said);
        let stream = fields.flag("stream")?;
        let usage = match fields.take("stream_options") {
            None => false,
            Some(Value::Object(options)) => Fields::of(options).flag("include_usage")?,
            Some(other) => return Err(wrong("stream_options", &other, "an object")),
        };
        let seed = fields.seed("seed")?;
        let number = |value: Option<f64>, default| value.unwrap_or(default);
        // vLLM writes "off" as -1.
        let top_k = match fields.take("top_k") {
            None => 0,
            Some(value) => match value.as_i64().filter(|&k| k >= -1) {
                Some(k) => k.max(0) as usize,
                None => return Err(wrong("top_k", &value, "a whole number of at least 0")),
            },
        };
        Ok(Order {
            sampling: Sampling {
                max_tokens: said.unwrap_or(max_tokens),
                temperature: number(fields.number("temperature", 0.0..=100.0)?, 1.0),
                top_p: number(fields.number("top_p", 0.0..=1.0)?, 1.0),
                top_k,
                min_p: number(fields.number("min_p", 0.0..=1.0)?, 0.0),
                presence_penalty: number(fields.number("presence_penalty", -10.0..=10.0)?, 0.0),
                frequency_penalty: number(fields.number("frequency_penalty", -10.0..=10.0)?, 0.0),
                repetition_penalty: number(fields.number("repetition_penalty", 0.01..=100.0)?, 1.0),
                stop: fields.texts("stop")?,
                seed: seed.unwrap_or(0),
                ignore_eos: fields.flag("ignore_eos")?,
                schema: None,
            },
            limited: said.is_some(),
            seeded: seed.is_some(),
            choices,
            logprobs: None,
            stream,
            usage,
            echo: false,
        })
    }
}

fn within_choices(choices: usize, prompts: usize) -> Result<(), Refusal> {
    if choices * prompts <= MOST_CHOICES {
        return Ok(());
    }
    Err(Refusal::parameter(
        "n",
        format!("{prompts} prompts with {choices} choices each are more than {MOST_CHOICES} answers"),
    ))
}

/// A text, a list of texts, a list of token ids, or a list of such lists.
fn prompts(fields: &mut Fields) -> Result<Vec<Prompt>, Refusal> {
    const WANT: &str = "a text, token ids, or a list of either";
    let Some(value) = fields.take("prompt") else {
        return Err(Refusal::parameter("prompt", "`prompt` is missing"));
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
        return Err(Refusal::parameter(
            "prompt",
            format!(
                "`prompt` has {} prompts, want at most {MOST_CHOICES}",
                prompts.len()
            ),
        ));
    }
    Ok(prompts)
}

fn messages(fields: &mut Fields) -> Result<Vec<Message>, Refusal> {
    let Some(value) = fields.take("messages") else {
        return Err(Refusal::parameter("messages", "`messages` is missing"));
    };
    match value {
        Value::Array(list) if !list.is_empty() => list.into_iter().enumerate().map(message).collect(),
        other => Err(wrong("messages", &other, "a list of messages")),
    }
}

fn message((index, value): (usize, Value)) -> Result<Message, Refusal> {
    let name = format!("messages[{index}]");
    let Value::Object(fields) = value else {
        return Err(wrong(&name, &value, "an object with `role` and `content`"));
    };
    let mut fields = Fields::of(fields);
    fields.refuse(&["tool_calls", "function_call", "audio"])?;
    let role = match fields.take("role") {
        // OpenAI's newer name for the same.
        Some(Value::String(role)) if role == "developer" => "system".to_string(),
        Some(Value::String(role)) if ["system", "user", "assistant"].contains(&role.as_str()) => role,
        other => {
            return Err(wrong(
                &format!("{name}.role"),
                &other.unwrap_or(Value::Null),
                "system, user or assistant",
            ));
        }
    };
    let content = match fields.take("content") {
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => parts
            .into_iter()
            .map(|part| part_of(&name, part))
            .collect::<Result<String, Refusal>>()?,
        other => {
            return Err(wrong(
                &format!("{name}.content"),
                &other.unwrap_or(Value::Null),
                "a text",
            ));
        }
    };
    Ok(Message { role, content })
}

fn part_of(message: &str, part: Value) -> Result<String, Refusal> {
    match (part["type"].as_str(), part["text"].as_str()) {
        (Some("text"), Some(text)) => Ok(text.to_string()),
        _ => Err(wrong(
            &format!("{message}.content"),
            &part,
            "parts of type `text`; this model reads text only",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completion(body: &str) -> Result<(Order, Vec<Prompt>), Refusal> {
        Order::completion(body.as_bytes())
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
        let (order, _) = completion(r#"{"prompt": "a", "model": "x", "user": "y"}"#).unwrap();
        assert_eq!((order.sampling.max_tokens, order.sampling.temperature), (16, 1.0));
        assert!(!order.limited && !order.seeded && !order.stream && order.logprobs.is_none());
        let (order, messages) = Order::chat(
            br#"{"messages": [{"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                {"role": "user", "content": "c", "name": "d"}], "logprobs": true, "max_completion_tokens": 3}"#,
        )
        .unwrap();
        assert_eq!(
            messages,
            [Message::new("system", "ab"), Message::new("user", "c")]
        );
        assert_eq!((order.logprobs, order.sampling.max_tokens), (Some(0), 3));
    }

    #[test]
    fn what_is_not_served_is_refused_by_name() {
        for (field, name) in [
            (r#""suffix": "x""#, "suffix"),
            (r#""best_of": 2"#, "best_of"),
            (r#""logit_bias": {"5": 1}"#, "logit_bias"),
            (r#""tools": [{}]"#, "tools"),
            (r#""response_format": {"type": "json_object"}"#, "response_format"),
            (r#""min_tokens": 4"#, "min_tokens"),
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
            assert!(Order::chat(body.as_bytes()).is_err(), "{message}");
        }
    }
}
