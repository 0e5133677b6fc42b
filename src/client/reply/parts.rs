//! A content, which is a text, a part, or a list of parts of several kinds.

use crate::client::lenient::is_empty;
use serde_json::{Map, Value};

/// What the parts of a content say together.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub text: String,
    /// Whether there was a text at all, if only an empty one.
    pub has_text: bool,
    pub reasoning: String,
    pub refusal: String,
    /// What the model gave a tool that it called.
    pub arguments: String,
}

/// Under which names a part has its text.
const TEXTS: [&str; 5] = ["text", "content", "value", "parts", "output_text"];
/// Under which names it has what was thought.
const THOUGHTS: [&str; 6] = ["thinking", "reasoning", "thought", "text", "summary", "content"];

impl Parts {
    /// Adds a content. The error says what it is instead.
    pub fn take(&mut self, content: &Value) -> Result<(), &'static str> {
        match content {
            Value::Null => {}
            Value::String(text) => self.take_text(text),
            Value::Number(number) => self.take_text(&number.to_string()),
            Value::Array(parts) if !parts.is_empty() && parts.iter().all(is_data) => {
                self.take_text(&content.to_string());
            }
            Value::Array(parts) => {
                let mut parts = parts.iter().filter(|part| !is_data(part));
                parts.try_for_each(|part| self.take(part))?;
            }
            Value::Object(_) if is_data(content) => self.take_text(&content.to_string()),
            Value::Object(part) => self.take_part(part)?,
            Value::Bool(_) => return Err("a truth value"),
        }
        Ok(())
    }

    fn take_text(&mut self, text: &str) {
        self.text.push_str(text);
        self.has_text = true;
    }

    fn take_part(&mut self, part: &Map<String, Value>) -> Result<(), &'static str> {
        let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
        let kind = kind.to_ascii_lowercase();
        // Gemini marks a part as thought, and has its text where that of any other part is.
        let is_thought = part
            .get("thought")
            .is_some_and(|thought| *thought == Value::Bool(true));
        if is_thought || kind.contains("think") || kind.contains("thought") || kind.contains("reason") {
            self.take_thoughts_of(part);
        } else if kind.contains("refusal") {
            let said = part.get("refusal").or(part.get("text"));
            said.into_iter().for_each(|text| self.take_refusal(text));
        } else if let Some(text) = first(part, &TEXTS) {
            self.take(text)?;
        }
        Ok(())
    }

    /// Adds what was thought, in whatever shape it comes.
    pub fn take_reasoning(&mut self, reasoning: &Value) {
        match reasoning {
            Value::String(text) => self.reasoning.push_str(text),
            Value::Array(parts) => parts.iter().for_each(|part| self.take_reasoning(part)),
            Value::Object(part) => self.take_thoughts_of(part),
            _ => {}
        }
    }

    fn take_thoughts_of(&mut self, part: &Map<String, Value>) {
        let mut said = THOUGHTS.iter().filter_map(|name| part.get(*name));
        // Whether something is a thought is no thought.
        if let Some(said) = said.find(|said| !is_empty(said) && !said.is_boolean()) {
            self.take_reasoning(said);
        }
    }

    pub fn take_refusal(&mut self, refusal: &Value) {
        if let Value::String(text) = refusal {
            self.refusal.push_str(text);
        }
    }

    /// Adds the arguments of the first call of a tool in a message.
    pub fn take_arguments(&mut self, message: &Value) {
        let calls = [
            &message["tool_calls"][0]["function"]["arguments"],
            &message["function_call"]["arguments"],
        ];
        match calls.into_iter().find(|arguments| !is_empty(arguments)) {
            Some(Value::String(arguments)) => self.arguments.push_str(arguments),
            Some(arguments) => self.arguments.push_str(&arguments.to_string()),
            None => {}
        }
    }

    /// Adds what comes behind it.
    pub fn extend(&mut self, more: Parts) {
        self.text.push_str(&more.text);
        self.has_text |= more.has_text;
        self.reasoning.push_str(&more.reasoning);
        self.refusal.push_str(&more.refusal);
        self.arguments.push_str(&more.arguments);
    }
}

/// The first field of these names that says something, or else one that says nothing.
pub(super) fn first<'a>(fields: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    let there = || names.iter().filter_map(|name| fields.get(*name));
    there().find(|value| !is_empty(value)).or_else(|| there().next())
}

/// Whether an object is no part of a content but the content itself, as some servers put what was
/// asked for as JSON.
fn is_data(value: &Value) -> bool {
    let Value::Object(fields) = value else {
        return false;
    };
    let of_parts = TEXTS.iter().chain(&["type", "role"]);
    !fields.is_empty() && !of_parts.into_iter().any(|name| fields.contains_key(*name))
}
