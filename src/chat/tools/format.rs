//! How models write calls of tools. The chat template shows which way a model has learned.

use serde_json::Value;

use crate::model::text::tokenizer::Tokenizer;

/// A way to write calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolFormat {
    /// `<tool_call>{"name": …, "arguments": …}</tool_call>`, of Hermes and Qwen.
    Hermes,
    /// `[TOOL_CALLS]` before a list of such objects, or before a name and its arguments, of
    /// Mistral.
    Mistral,
    /// The answer is such an object, with `parameters`, behind `<|python_tag|>` or without, of
    /// Llama 3.
    Llama,
}

/// Begins and ends a call of Hermes.
pub const HERMES: [&str; 2] = ["<tool_call>", "</tool_call>"];

/// Begins calls of Mistral.
pub const MISTRAL: &str = "[TOOL_CALLS]";

/// Stand between the name of a tool, the id of the call, and the arguments.
pub const MISTRAL_PARTS: [&str; 2] = ["[CALL_ID]", "[ARGS]"];

/// May precede calls of Llama 3.
pub const LLAMA: &str = "<|python_tag|>";

impl ToolFormat {
    /// Returns the way of the model whose chat template has this source.
    pub fn of(template: &str) -> ToolFormat {
        if template.contains(MISTRAL) {
            ToolFormat::Mistral
        } else if template.contains(HERMES[0]) {
            ToolFormat::Hermes
        } else {
            ToolFormat::Llama
        }
    }

    /// Returns the special tokens of a vocabulary that calls are written with. They have to stand
    /// in the text.
    pub fn special(self, tokenizer: &Tokenizer) -> Vec<i64> {
        let marks: &[&str] = match self {
            ToolFormat::Hermes => &HERMES,
            ToolFormat::Mistral => &[MISTRAL, MISTRAL_PARTS[0], MISTRAL_PARTS[1]],
            ToolFormat::Llama => &[LLAMA],
        };
        let special = tokenizer
            .added_tokens()
            .into_iter()
            .filter(|(_, special)| *special);
        let ids = special.map(|(id, _)| id);
        ids.filter(|&id| {
            tokenizer
                .token(id)
                .is_some_and(|token| marks.contains(&token.as_str()))
        })
        .collect()
    }
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The tool.
    pub name: String,
    /// The arguments, as JSON.
    pub arguments: String,
}

impl Call {
    /// Reads a call from an object with `name`, and `arguments` or `parameters`.
    pub fn of(value: &Value) -> Option<Call> {
        let name = value.get("name")?.as_str()?.to_owned();
        let arguments = match value.get("arguments").or_else(|| value.get("parameters")) {
            None | Some(Value::Null) => "{}".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(object @ Value::Object(_)) => object.to_string(),
            Some(_) => return None,
        };
        (!name.is_empty()).then_some(Call { name, arguments })
    }

    /// Reads calls from a list of such objects, which is not empty.
    pub fn all_of(text: &str) -> Option<Vec<Call>> {
        let list: Vec<Value> = serde_json::from_str(text.trim()).ok()?;
        let calls: Option<Vec<Call>> = list.iter().map(Call::of).collect();
        calls.filter(|calls| !calls.is_empty())
    }
}

/// Reads what follows [`MISTRAL`]: a list of calls, or names with their arguments.
pub fn mistral(body: &str) -> Option<Vec<Call>> {
    if let Some(calls) = Call::all_of(body) {
        return Some(calls);
    }
    let mut calls = Vec::new();
    let mut rest = body.trim();
    while !rest.is_empty() {
        rest = rest.strip_prefix(MISTRAL).unwrap_or(rest);
        let name_end = rest.find(['[', '{'])?;
        let (name, behind) = rest.split_at(name_end);
        // An id may stand in between.
        let arguments = &behind[behind.find('{')?..];
        let mut values = serde_json::Deserializer::from_str(arguments).into_iter::<Value>();
        let object = values.next()?.ok()?;
        calls.push(Call {
            name: Some(name.trim().to_owned()).filter(|name| !name.is_empty())?,
            arguments: object.to_string(),
        });
        rest = arguments[values.byte_offset()..].trim_start();
    }
    (!calls.is_empty()).then_some(calls)
}

/// Reads an answer of Llama 3 that is calls: objects, with `;` or nothing between them.
pub fn llama(body: &str) -> Option<Vec<Call>> {
    let mut calls = Vec::new();
    let mut rest = body.trim();
    while !rest.is_empty() {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        let object = values.next()?.ok()?;
        // Any JSON may be an answer; only what has both is a call.
        object.get("parameters").or_else(|| object.get("arguments"))?;
        calls.push(Call::of(&object)?);
        rest = rest[values.byte_offset()..].trim_start_matches([';', ' ', '\n', '\t', '\r']);
    }
    (!calls.is_empty()).then_some(calls)
}
