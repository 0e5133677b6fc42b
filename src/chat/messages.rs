//! The messages of a chat: roles, texts, and what a template may read besides.

use serde_json::{Map, Value};

use super::error::ApiError;
use super::fields::{Fields, wrong};
use super::names::{HARMLESS_IN_MESSAGES, HARMLESS_IN_PARTS, UNSERVED_IN_MESSAGES};
use crate::model::chat_template::Message;

/// The most messages of a chat.
const MOST: usize = 10_000;

/// The field `messages`.
pub fn messages(fields: &mut Fields) -> Result<Vec<Message>, ApiError> {
    match fields.take("messages") {
        None => Err(ApiError::parameter("messages", "`messages` is missing")),
        Some(Value::Array(list)) if list.len() > MOST => Err(ApiError::parameter(
            "messages",
            format!("`messages` has {} messages, want at most {MOST}", list.len()),
        )),
        Some(Value::Array(list)) if !list.is_empty() => list.into_iter().enumerate().map(message).collect(),
        Some(other) => Err(wrong("messages", &other, "a list of messages")),
    }
}

fn message((index, value): (usize, Value)) -> Result<Message, ApiError> {
    let name = format!("messages[{index}]");
    let Value::Object(fields) = value else {
        return Err(wrong(&name, &value, "an object with `role` and `content`"));
    };
    let mut fields = Fields::of(fields, &name);
    let role = match fields.take("role") {
        // OpenAI's newer name for the same.
        Some(Value::String(role)) if role == "developer" => "system".to_string(),
        Some(Value::String(role)) if ["system", "user", "assistant"].contains(&role.as_str()) => role,
        other => {
            return Err(fields.wrong("role", &other.unwrap_or(Value::Null), "system, user or assistant"));
        }
    };
    let content = fields.take("content");
    let more = what_templates_read(&mut fields)?;
    // Before the content: that of an answer with tool calls is null.
    let place = fields.full("content");
    fields.end(HARMLESS_IN_MESSAGES, &[UNSERVED_IN_MESSAGES])?;
    let content = match content {
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => parts
            .into_iter()
            .enumerate()
            .map(|(part, value)| part_of(&format!("{name}.content[{part}]"), value))
            .collect::<Result<String, ApiError>>()?,
        other => return Err(wrong(&place, &other.unwrap_or(Value::Null), "a text")),
    };
    Ok(Message { role, content, more })
}

/// Fields that are the template's business: it has them as `transformers` would give them to it.
fn what_templates_read(fields: &mut Fields) -> Result<Map<String, Value>, ApiError> {
    let mut more = Map::new();
    // What vLLM calls `reasoning` is `reasoning_content` elsewhere; templates look for either.
    for name in ["name", "reasoning_content", "reasoning"] {
        match fields.take(name) {
            None => {}
            Some(value @ Value::String(_)) => {
                more.insert(name.to_string(), value);
            }
            Some(other) => return Err(fields.wrong(name, &other, "a text")),
        }
    }
    for (one, other) in [
        ("reasoning", "reasoning_content"),
        ("reasoning_content", "reasoning"),
    ] {
        if let Some(value) = more.get(one).cloned() {
            more.entry(other).or_insert(value);
        }
    }
    Ok(more)
}

fn part_of(name: &str, part: Value) -> Result<String, ApiError> {
    const WANT: &str = "a part of type `text`; this model reads text only";
    let (Some("text"), true) = (part["type"].as_str(), part["text"].is_string()) else {
        return Err(wrong(name, &part, WANT));
    };
    let Value::Object(fields) = part else {
        return Err(wrong(name, &part, WANT));
    };
    let mut fields = Fields::of(fields, name);
    fields.take("type");
    let text = fields.take("text");
    fields.end(HARMLESS_IN_PARTS, &[])?;
    Ok(text
        .and_then(|text| text.as_str().map(str::to_string))
        .unwrap_or_default())
}
