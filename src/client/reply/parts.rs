//! The content of a message: a string, a content part, or a list of parts of several types.

use crate::lenient_json::is_empty;
use serde_json::{Map, Value};

/// The parts of a content, joined by type.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub text: String,
    /// Whether there is a text, even an empty one.
    pub has_text: bool,
    pub reasoning: String,
    pub refusal: String,
    /// The arguments of a tool call.
    pub arguments: String,
}

/// Names of the text of a part.
const TEXTS: [&str; 5] = ["text", "content", "value", "parts", "output_text"];
/// Names of the reasoning of a part.
const REASONING: [&str; 6] = ["thinking", "reasoning", "thought", "text", "summary", "content"];

impl Parts {
    /// Adds a content.
    ///
    /// # Errors
    ///
    /// The type of a value that is no content.
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
        // Gemini marks a part as thought; its text has the same name as that of any other part.
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

    /// Adds reasoning: a string, a part or a list of parts.
    pub fn take_reasoning(&mut self, reasoning: &Value) {
        match reasoning {
            Value::String(text) => self.reasoning.push_str(text),
            Value::Array(parts) => parts.iter().for_each(|part| self.take_reasoning(part)),
            Value::Object(part) => self.take_thoughts_of(part),
            _ => {}
        }
    }

    fn take_thoughts_of(&mut self, part: &Map<String, Value>) {
        let mut said = REASONING.iter().filter_map(|name| part.get(*name));
        // `thought` may be a flag of the part.
        if let Some(said) = said.find(|said| !is_empty(said) && !said.is_boolean()) {
            self.take_reasoning(said);
        }
    }

    /// Adds a refusal.
    pub fn take_refusal(&mut self, refusal: &Value) {
        if let Value::String(text) = refusal {
            self.refusal.push_str(text);
        }
    }

    /// Adds the arguments of the first tool call of a message.
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

    /// Appends other parts.
    pub fn extend(&mut self, more: Parts) {
        self.text.push_str(&more.text);
        self.has_text |= more.has_text;
        self.reasoning.push_str(&more.reasoning);
        self.refusal.push_str(&more.refusal);
        self.arguments.push_str(&more.arguments);
    }
}

/// Returns the first field of these names that is not empty, else the first one.
pub(super) fn first<'a>(fields: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    let there = || names.iter().filter_map(|name| fields.get(*name));
    there().find(|value| !is_empty(value)).or_else(|| there().next())
}

/// Whether an object is not a content part but the answer itself, as some servers send JSON that a
/// schema asked for.
fn is_data(value: &Value) -> bool {
    let Value::Object(fields) = value else {
        return false;
    };
    let of_parts = TEXTS.iter().chain(&["type", "role"]);
    !fields.is_empty() && !of_parts.into_iter().any(|name| fields.contains_key(*name))
}
