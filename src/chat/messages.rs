//! The messages of a chat: roles, texts, calls of tools, and fields that only templates read.

use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::fields::{JsonFields, wrong};
use super::names::{HARMLESS_IN_MESSAGES, HARMLESS_IN_PARTS, UNSUPPORTED_IN_MESSAGES};
use crate::model::text::chat_template::ChatMessage;

/// The roles of messages, besides developer, which is another word for system.
const ROLES: [&str; 4] = ["system", "user", "assistant", "tool"];

/// The most messages of a chat.
const MOST: usize = 10_000;

/// Takes the field `messages`.
pub fn messages(fields: &mut JsonFields) -> Result<Vec<ChatMessage>, ApiError> {
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

/// Reads a message.
fn message((index, value): (usize, Value)) -> Result<ChatMessage, ApiError> {
    let name = format!("messages[{index}]");
    let Value::Object(fields) = value else {
        return Err(wrong(&name, &value, "an object with `role` and `content`"));
    };
    let mut fields = JsonFields::of(fields, &name);
    let role = match fields.take("role") {
        // OpenAI's newer name for the system role.
        Some(Value::String(role)) if role == "developer" => "system".to_string(),
        Some(Value::String(role)) if ROLES.contains(&role.as_str()) => role,
        other => {
            return Err(fields.wrong(
                "role",
                &other.unwrap_or(Value::Null),
                "system, user, assistant or tool",
            ));
        }
    };
    let content = fields.take("content");
    let mut more = template_fields(&mut fields)?;
    if role == "tool" {
        more.insert("tool_call_id".to_owned(), call_id(&mut fields)?);
    }
    let (mut calls, mut refusal) = (None, None);
    if role == "assistant" {
        calls = tool_calls(&mut fields)?;
        refusal = fields.take("refusal");
    }
    // Checked before the content, which is null in an answer with tool calls.
    let place = fields.full("content");
    fields.end(HARMLESS_IN_MESSAGES, &[UNSUPPORTED_IN_MESSAGES])?;
    let content = match content {
        Some(Value::String(text)) => text,
        // An answer that is all calls.
        None if calls.is_some() => String::new(),
        // One in which a model declined, which is what it said.
        None if refusal.as_ref().is_some_and(Value::is_string) => refusal
            .and_then(|text| text.as_str().map(str::to_owned))
            .unwrap_or_default(),
        Some(Value::Array(parts)) => parts
            .into_iter()
            .enumerate()
            .map(|(part, value)| part_of(&format!("{name}.content[{part}]"), value))
            .collect::<Result<String, ApiError>>()?,
        other => return Err(wrong(&place, &other.unwrap_or(Value::Null), "a text")),
    };
    if let Some(calls) = calls {
        more.insert("tool_calls".to_owned(), calls);
    }
    Ok(ChatMessage { role, content, more })
}

/// Takes the id of the call that a message is the result of.
fn call_id(fields: &mut JsonFields) -> Result<Value, ApiError> {
    const NAME: &str = "tool_call_id";
    match fields.take(NAME) {
        Some(id @ Value::String(_)) => Ok(id),
        other => Err(fields.wrong(NAME, &other.unwrap_or(Value::Null), "the id of a call")),
    }
}

/// Takes the calls of an answer; none if there are none. Arguments become objects, as templates
/// want them, unless they are not JSON.
fn tool_calls(fields: &mut JsonFields) -> Result<Option<Value>, ApiError> {
    const NAME: &str = "tool_calls";
    let place = fields.full(NAME);
    let list = match fields.take(NAME) {
        None => return Ok(None),
        Some(Value::Array(list)) if list.is_empty() => return Ok(None),
        Some(Value::Array(list)) => list,
        Some(other) => return Err(wrong(&place, &other, "a list of calls")),
    };
    let mut calls = Vec::new();
    for (index, call) in list.into_iter().enumerate() {
        let function = &call["function"];
        let arguments = match &function["arguments"] {
            Value::Null => Some(json!({})),
            Value::String(text) => Some(match serde_json::from_str::<Map<String, Value>>(text) {
                Ok(object) => Value::Object(object),
                Err(_) => json!(text),
            }),
            object @ Value::Object(_) => Some(object.clone()),
            _ => None,
        };
        let (Some(arguments), Some(name)) = (arguments, function["name"].as_str()) else {
            let want = "{\"id\": …, \"type\": \"function\", \"function\": {\"name\": …, \"arguments\": …}}";
            return Err(wrong(&format!("{place}[{index}]"), &call, want));
        };
        let mut read = json!({ "type": "function", "function": { "name": name, "arguments": arguments } });
        if let Some(id) = call["id"].as_str() {
            read["id"] = json!(id);
        }
        calls.push(read);
    }
    Ok(Some(Value::Array(calls)))
}

/// Takes the fields that only templates read. The template gets them as from `transformers`.
fn template_fields(fields: &mut JsonFields) -> Result<Map<String, Value>, ApiError> {
    let mut more = Map::new();
    // vLLM's `reasoning` is `reasoning_content` elsewhere; templates read either.
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

/// Reads the text of a part of a message's content.
fn part_of(name: &str, part: Value) -> Result<String, ApiError> {
    const WANT: &str = "a part of type `text`; this model reads text only";
    // A refusal is what a model said, too.
    let field = match part["type"].as_str() {
        Some("text") => "text",
        Some("refusal") => "refusal",
        _ => return Err(wrong(name, &part, WANT)),
    };
    if !part[field].is_string() {
        return Err(wrong(name, &part, WANT));
    }
    let Value::Object(fields) = part else {
        return Err(wrong(name, &part, WANT));
    };
    let mut fields = JsonFields::of(fields, name);
    fields.take("type");
    let text = fields.take(field);
    fields.end(HARMLESS_IN_PARTS, &[])?;
    Ok(text
        .and_then(|text| text.as_str().map(str::to_string))
        .unwrap_or_default())
}
