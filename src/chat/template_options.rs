//! Options of the chat template: how the prompt ends, and variables besides the messages.

use serde_json::{Map, Value};

use super::error::ApiError;
use super::fields::{JsonFields, cut};
use crate::model::text::chat_template::{ChatMessage, Ending, Rendering};
use crate::model::text::conversation_template::ConversationTemplate;

/// The most variables of a request.
const MOST_VARIABLES: usize = 128;

/// The parameter that holds them.
const KWARGS: &str = "chat_template_kwargs";

/// Variables that some clients send as parameters of their own.
const BESIDE: [&str; 2] = ["enable_thinking", "reasoning_effort"];

/// Efforts that a model without any switch for its reasoning makes: none, or what it makes anyway.
const USUAL_EFFORTS: [&str; 3] = ["none", "minimal", "medium"];

/// Variables that a request cannot set.
const TAKEN: [&str; 4] = ["messages", "add_generation_prompt", "tools", "documents"];

/// Names that templates call, which are not variables.
const HELPERS: [&str; 7] = [
    "raise_exception",
    "strftime_now",
    "namespace",
    "range",
    "dict",
    "joiner",
    "cycler",
];

/// What a request says about the template.
#[derive(Debug, Clone, PartialEq)]
pub struct TemplateOptions {
    /// What the template gets.
    pub rendering: Rendering,
    /// Variables that were sent as parameters of their own.
    beside: Vec<&'static str>,
}

impl TemplateOptions {
    /// Takes the fields of a chat that are about the template.
    pub fn take(fields: &mut JsonFields, messages: &[ChatMessage]) -> Result<TemplateOptions, ApiError> {
        let ending = ending(fields, messages)?;
        let mut variables = match fields.take(KWARGS) {
            None => Map::new(),
            Some(Value::Object(variables)) => variables,
            Some(other) => return Err(fields.wrong(KWARGS, &other, "an object")),
        };
        if variables.len() > MOST_VARIABLES {
            return Err(ApiError::parameter(
                KWARGS,
                format!(
                    "`{KWARGS}` has {} fields, want at most {MOST_VARIABLES}",
                    variables.len()
                ),
            ));
        }
        let mut beside = Vec::new();
        for name in BESIDE {
            let Some(value) = fields.take(name) else { continue };
            if variables.get(name).is_some_and(|other| *other != value) {
                return Err(ApiError::parameter(
                    name,
                    format!(
                        "`{name}` and `{KWARGS}.{name}` mean the same, and say something else\nhint: leave one away"
                    ),
                ));
            }
            variables.insert(name.to_string(), value);
            beside.push(name);
        }
        Ok(TemplateOptions {
            rendering: Rendering { ending, variables },
            beside,
        })
    }

    /// Fails on variables that the template does not read, and on those that a request cannot set:
    /// they would have no effect.
    pub fn check(&self, template: &ConversationTemplate) -> Result<(), ApiError> {
        let read = template.variables();
        for (name, value) in &self.rendering.variables {
            if is_usual(name, value) && !read.contains(name) {
                continue;
            }
            let shown = cut(name);
            let refused = |what: String| {
                let refusal = match self.beside.iter().any(|beside| beside == name) {
                    true => ApiError::parameter(name, what),
                    false => {
                        let place = format!("{KWARGS}.{shown}");
                        ApiError::parameter(&place, format!("`{place}`: {what}"))
                    }
                };
                Err(refusal.coded("unsupported_parameter"))
            };
            if template.is_fallback() {
                return refused(format!(
                    "the model has no chat template that could read `{shown}`\nhint: leave it away"
                ));
            }
            if TAKEN.contains(&name.as_str()) {
                return refused(format!(
                    "the template has `{shown}` otherwise, and it cannot be set"
                ));
            }
            if !read.contains(name) {
                let mut others: Vec<&str> = read
                    .iter()
                    .map(String::as_str)
                    .filter(|other| !TAKEN.contains(other) && !HELPERS.contains(other))
                    .collect();
                others.sort_unstable();
                let hint = match others.as_slice() {
                    [] => "it reads no other than the messages".to_string(),
                    others => format!("it reads {}", others.join(", ")),
                };
                return refused(format!(
                    "the model's chat template does not read `{shown}`\nhint: {hint}"
                ));
            }
        }
        Ok(())
    }
}

/// Whether a variable asks for the effort that a model makes by itself.
fn is_usual(name: &str, value: &Value) -> bool {
    let effort = value.as_str().unwrap_or_default();
    name == "reasoning_effort" && USUAL_EFFORTS.contains(&effort)
}

/// Returns how the prompt ends: by default with the opening of an answer.
fn ending(fields: &mut JsonFields, messages: &[ChatMessage]) -> Result<Ending, ApiError> {
    let opens = fields.flag("add_generation_prompt")?;
    let continues = fields.flag("continue_final_message")?.unwrap_or(false);
    if continues && opens == Some(true) {
        return Err(ApiError::parameter(
            "continue_final_message",
            "`continue_final_message` and `add_generation_prompt` exclude each other: an answer goes on with the last message, or begins a new one",
        ));
    }
    if continues && messages.last().is_some_and(|last| last.role != "assistant") {
        return Err(ApiError::parameter(
            "continue_final_message",
            "`continue_final_message` goes on with a message of the assistant's, and the last one is not\nhint: add what the answer begins with as the last message",
        ));
    }
    Ok(match (continues, opens) {
        (true, _) => Ending::Continued,
        (false, Some(false)) => Ending::Closed,
        (false, _) => Ending::Opening,
    })
}
