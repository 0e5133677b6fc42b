//! What a request asks for: the bodies of `/v1/completions` and `/v1/chat/completions`, with the
//! sampling parameters that vLLM and llama.cpp add, in either's spelling. Parameters without an
//! effect are harmless, or refused ([`super::names`]).

use ewe::backend::Sampling;
use ewe::text::counted;
use serde_json::Value;

use super::error::ApiError;
use super::fields::{JsonFields, wrong};
use super::messages::messages;
use super::names::{
    HARMLESS, HARMLESS_IN_STREAM, UNSUPPORTED, UNSUPPORTED_CHAT, UNSUPPORTED_COMPLETION,
    UNSUPPORTED_IN_STREAM,
};
use super::sampling::{bias, repetition, stop_tokens, stops, top_k};
use super::structured::AnswerFormat;
use super::template_options::TemplateOptions;
use super::tools::asked::Tools;
use crate::engine::batch::RequestOptions;
use crate::model::text::chat_template::ChatMessage;

/// The most choices of one request, over all prompts.
pub const MOST_CHOICES: usize = 128;

/// The most of the likeliest tokens to report, as in OpenAI's chats and vLLM.
const MOST_LOGPROBS: u64 = 20;

/// Default limit of tokens of `/v1/completions`, as OpenAI's.
const DEFAULT_TOKENS: usize = 16;

/// A prompt to continue.
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
    /// Its messages.
    pub messages: Vec<ChatMessage>,
    /// Options of the chat template.
    pub template: TemplateOptions,
    /// The tools that may be called.
    pub tools: Option<Tools>,
}

/// The parameters that both endpoints share.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// The name of the model, if given.
    pub model: Option<String>,
    /// How tokens are chosen. The seed is that of the first choice.
    pub sampling: Sampling,
    /// Further options of the engine.
    pub options: RequestOptions,
    /// What answers are held to.
    pub format: Option<AnswerFormat>,
    /// Whether the request limits the tokens.
    pub limited: bool,
    /// Whether the request has a seed.
    pub seeded: bool,
    /// Answers to each prompt.
    pub choices: usize,
    /// Answers that are generated for each, of which the likeliest are sent.
    pub candidates: usize,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Whether a stream ends with the numbers of tokens.
    pub usage: bool,
    /// Whether each answer begins with its prompt.
    pub echo: bool,
    /// Whether texts are encoded with the tokenizer's special tokens around them.
    pub special: bool,
}

impl ChatRequest {
    /// Reads a body of `/v1/completions`, with its prompts.
    pub fn completion(body: &[u8]) -> Result<(ChatRequest, Vec<Prompt>), ApiError> {
        let mut fields = JsonFields::read(body)?;
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
        let special = fields.flag("add_special_tokens")?.unwrap_or(true);
        let mut request = ChatRequest::shared(&mut fields, DEFAULT_TOKENS)?;
        fields.end(HARMLESS, &[UNSUPPORTED_COMPLETION, UNSUPPORTED])?;
        (request.options.logprobs, request.echo, request.special) = (logprobs, echo, special);
        request.options.prompt_logprobs = echo && logprobs.is_some();
        within_choices(request.candidates, prompts.len())?;
        Ok((request, prompts))
    }

    /// Reads a body of `/v1/chat/completions`, with its conversation.
    pub fn chat(body: &[u8]) -> Result<(ChatRequest, Conversation), ApiError> {
        let mut fields = JsonFields::read(body)?;
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
        let template = TemplateOptions::take(&mut fields, &messages)?;
        let tools = Tools::take(&mut fields)?;
        let mut request = ChatRequest::shared(&mut fields, usize::MAX)?;
        if let Some(tools) = &tools {
            tools.check()?;
        }
        fields.end(HARMLESS, &[UNSUPPORTED_CHAT, UNSUPPORTED])?;
        request.options.logprobs = logprobs.then(|| top.unwrap_or(0));
        within_choices(request.candidates, 1)?;
        let conversation = Conversation {
            messages,
            template,
            tools,
        };
        Ok((request, conversation))
    }

    /// Takes the parameters that both endpoints share. `max_tokens` is the default limit.
    fn shared(fields: &mut JsonFields, max_tokens: usize) -> Result<ChatRequest, ApiError> {
        let choices = fields
            .one_of(&["n", "n_cmpl"], |fields, name| {
                fields.count(name, 1..=MOST_CHOICES as u64)
            })?
            .map_or(1, |(_, choices)| choices);
        let candidates = fields
            .count("best_of", 1..=MOST_CHOICES as u64)?
            .unwrap_or(choices);
        if candidates < choices {
            let message = format!("`best_of` is {candidates}, want at least `n`, which is {choices}");
            return Err(ApiError::parameter("best_of", message));
        }
        let limit = limit(fields, max_tokens)?;
        let least = least(fields, limit.most)?;
        let stream = fields.flag("stream")?.unwrap_or(false);
        if stream && candidates > choices {
            let message = "`best_of` above `n` compares whole answers, which cannot be streamed\nhint: leave `stream` away";
            return Err(ApiError::parameter("best_of", message));
        }
        let usage = match fields.object("stream_options")? {
            None => false,
            Some(mut options) => {
                let usage = options.flag("include_usage")?.unwrap_or(false);
                options.end(HARMLESS_IN_STREAM, &[UNSUPPORTED_IN_STREAM])?;
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
        let format = AnswerFormat::take(fields)?;
        let (repetition_penalty, repetition_window) = repetition(fields)?;
        let number = |value: Option<f64>, default| value.unwrap_or(default);
        Ok(ChatRequest {
            model: model(fields)?,
            sampling: Sampling {
                max_tokens: limit.most,
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
                choices: Vec::new(),
            },
            options: RequestOptions {
                min_tokens: least,
                repetition_window,
                bias: bias(fields)?,
                stop_tokens: stop_tokens(fields)?,
                ..RequestOptions::default()
            },
            format,
            limited: limit.is_given,
            seeded: seed.is_some(),
            choices,
            candidates,
            stream,
            usage,
            echo: false,
            special: true,
        })
    }
}

/// The limit of an answer's tokens.
struct TokenLimit {
    most: usize,
    /// Whether the request gives it. If so, a request without room for such an answer is refused.
    is_given: bool,
}

/// Takes `min_tokens`, which is at most `most`.
fn least(fields: &mut JsonFields, most: usize) -> Result<usize, ApiError> {
    let least = fields.count("min_tokens", 0..=u64::MAX)?.unwrap_or(0);
    if least <= most {
        return Ok(least);
    }
    let message = format!(
        "`min_tokens` is {least}, which is more than the limit of {}\nhint: a larger `max_tokens`",
        counted(most, "token")
    );
    Err(ApiError::parameter("min_tokens", message))
}

/// Takes the limit, in any of its spellings; `default` if absent. llama.cpp's -1 means no limit.
fn limit(fields: &mut JsonFields, default: usize) -> Result<TokenLimit, ApiError> {
    const NAMES: [&str; 4] = [
        "max_completion_tokens",
        "max_tokens",
        "n_predict",
        "max_new_tokens",
    ];
    let given = fields.one_of(&NAMES, |fields, name| {
        let Some(value) = fields.take(name) else {
            return Ok(None);
        };
        match (value.as_u64(), value.as_i64()) {
            (Some(limit), _) => Ok(Some(Some(usize::try_from(limit).unwrap_or(usize::MAX)))),
            (None, Some(-1)) if name == "n_predict" => Ok(Some(None)),
            _ => Err(fields.wrong(name, &value, "a whole number of at least 0")),
        }
    })?;
    let (most, is_given) = match given {
        None => (default, false),
        Some((_, None)) => (usize::MAX, false),
        Some((_, Some(most))) => (most, true),
    };
    Ok(TokenLimit { most, is_given })
}

/// Takes the name of the model. An empty name, which some clients send, counts as absent.
fn model(fields: &mut JsonFields) -> Result<Option<String>, ApiError> {
    match fields.take("model") {
        None => Ok(None),
        Some(Value::String(name)) => Ok(Some(name).filter(|name| !name.is_empty())),
        Some(other) => Err(wrong("model", &other, "a model's name")),
    }
}

/// Takes the seed; none for llama.cpp's -1, which asks for a random one.
fn seed(fields: &mut JsonFields) -> Result<Option<u64>, ApiError> {
    Ok(fields.seed("seed")?.filter(|&seed| seed != u64::MAX))
}

/// Fails on too many answers.
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

/// Takes the prompts: a text, a list of texts, a list of token ids, or a list of such lists.
fn prompts(fields: &mut JsonFields) -> Result<Vec<Prompt>, ApiError> {
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
        let (request, _) = completion(r#"{"prompt": "a", "model": "", "user": "y"}"#).unwrap();
        assert_eq!(request.model, None);
        assert_eq!(
            (request.sampling.max_tokens, request.sampling.temperature),
            (16, 1.0)
        );
        assert!(
            !request.limited
                && !request.seeded
                && !request.stream
                && request.options == RequestOptions::default()
        );
        let (request, conversation) = ChatRequest::chat(
            br#"{"messages": [{"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                {"role": "user", "content": "c"}], "logprobs": true, "max_completion_tokens": 3}"#,
        )
        .unwrap();
        assert_eq!(
            conversation.messages,
            [ChatMessage::new("system", "ab"), ChatMessage::new("user", "c")]
        );
        assert_eq!(
            (request.options.logprobs, request.sampling.max_tokens),
            (Some(0), 3)
        );
    }

    #[test]
    fn an_echo_has_logprobs_if_the_answer_has() {
        for (fields, want) in [
            (r#""echo": true"#, false),
            (r#""logprobs": 0"#, false),
            (r#""echo": false, "logprobs": 1"#, false),
            (r#""echo": true, "logprobs": 0"#, true),
            (r#""echo": true, "logprobs": 1, "max_tokens": 0"#, true),
        ] {
            let (request, _) = completion(&format!(r#"{{"prompt": [5, 6], {fields}}}"#)).unwrap();
            assert_eq!(request.options.prompt_logprobs, want, "{fields}");
        }
    }

    #[test]
    fn a_model_may_be_named() {
        let (request, _) = completion(r#"{"prompt": "a", "model": "x"}"#).unwrap();
        assert_eq!(request.model.as_deref(), Some("x"));
        let refusal = completion(r#"{"prompt": "a", "model": 5}"#).unwrap_err();
        assert_eq!(refusal.param.as_deref(), Some("model"));
    }

    #[test]
    fn what_is_not_served_is_refused_by_name() {
        for (field, name) in [
            (r#""suffix": "x""#, "suffix"),
            (r#""bad_words": ["a"]"#, "bad_words"),
            (r#""tools": [{}]"#, "tools"),
            (r#""grammar": "root ::= \"a\"""#, "grammar"),
            (r#""typical_p": 0"#, "typical_p"),
            (r#""n_probs": 3"#, "n_probs"),
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
