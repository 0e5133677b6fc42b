//! The chat template that comes with a tokenizer: Jinja, as `transformers` reads it.

use anyhow::{Context, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, State, Value, context};
use serde::{Deserialize, Serialize};

use super::tokenizer::Tokenizer;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

impl Message {
    /// A turn.
    pub fn new(role: &str, content: &str) -> Message {
        Message {
            role: role.to_string(),
            content: content.to_string(),
        }
    }
}

/// Renders `messages`; `opening` adds what precedes an answer. The text has its special tokens written out, so it is
/// encoded without adding more. None if the model has no template; fails if it is malformed or refuses the messages.
pub fn render(tokenizer: &Tokenizer, messages: &[Message], opening: bool) -> Result<Option<String>> {
    let Some(source) = tokenizer.chat_template() else {
        return Ok(None);
    };
    let (begin, end) = tokenizer.special_texts();
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    environment.set_syntax(syntax.context("cannot set up the template language")?);
    environment.set_unknown_method_callback(string_method);
    environment.add_function("raise_exception", |text: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, text))
    });
    let template = environment
        .template_from_str(source)
        .context("the model's chat template is malformed")?;
    let turn = |m: &Message| context! { role => m.role.as_str(), content => m.content.as_str() };
    let messages: Vec<Value> = messages.iter().map(turn).collect();
    let variables = context! {
        messages => messages, add_generation_prompt => opening, bos_token => begin, eos_token => end,
    };
    template
        .render(variables)
        .map(Some)
        .context("the model's chat template refuses the exchange")
}

/// The methods of Python's strings that chat templates use.
fn string_method(_: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let unknown = || {
        Error::new(
            ErrorKind::UnknownMethod,
            format!("chat templates may not call {method}"),
        )
    };
    let text = value.as_str().ok_or_else(unknown)?;
    let first = args.first().and_then(Value::as_str);
    Ok(match (method, first) {
        ("strip", None) => text.trim().into(),
        ("lstrip", None) => text.trim_start().into(),
        ("rstrip", None) => text.trim_end().into(),
        ("upper", None) => text.to_uppercase().into(),
        ("lower", None) => text.to_lowercase().into(),
        ("startswith", Some(start)) => text.starts_with(start).into(),
        ("endswith", Some(end)) => text.ends_with(end).into(),
        ("split", Some(separator)) => text.split(separator).map(Value::from).collect::<Vec<_>>().into(),
        _ => return Err(unknown()),
    })
}
