//! Finds the answer in a response: in one of several choices, in its message, in its delta, or
//! beside both.

use super::end::is_unsaid;
use super::logprobs;
use super::parts::{Parts, first};
use crate::choice::ReportedToken;
use crate::lenient_json::is_empty;
use serde_json::{Map, Value};

/// Names of the list of choices.
const CHOICES: [&str; 2] = ["choices", "candidates"];
/// Names of fields in which some services wrap the usual object. They are searched first.
const WRAPPERS: [&str; 8] = [
    "data",
    "result",
    "response",
    "results",
    "body",
    "output",
    "completion",
    "outputs",
];
/// Names of the text of a message or a choice.
const TEXTS: [&str; 6] = [
    "content",
    "text",
    "parts",
    "output_text",
    "generated_text",
    "response",
];
/// Names of the reasoning of a message or a choice.
const REASONING: [&str; 8] = [
    "reasoning_content",
    "reasoning",
    "reasoning_details",
    "reasoning_text",
    "thinking",
    "thinking_blocks",
    "thinking_content",
    "thoughts",
];
/// Names of `finish_reason`.
const ENDS: [&str; 6] = [
    "finish_reason",
    "finishReason",
    "finish_details",
    "done_reason",
    "stop_reason",
    "stopReason",
];
/// How deep the usual object may be wrapped.
const MOST_WRAPPERS: usize = 3;

/// Returns the object with the choices, wherever it is in a value. The parts of an error are not
/// searched.
pub(super) fn root(value: &Value) -> Option<&Map<String, Value>> {
    if has_error(value) {
        return as_root(value);
    }
    let mut level = vec![value];
    for _ in 0..=MOST_WRAPPERS {
        if let Some(root) = level.iter().find_map(|value| as_root(value)) {
            return Some(root);
        }
        level = level.into_iter().flat_map(wrapped).collect();
    }
    None
}

/// Returns the error that came in place of an answer.
pub(super) fn error(value: &Value) -> Option<&Value> {
    (has_error(value) && as_root(value).is_none()).then(|| &value["error"])
}

/// Whether the object has an error.
fn has_error(value: &Value) -> bool {
    !is_empty(&value["error"]) && value["error"] != false
}

/// Returns the object itself, if it has choices, or what the native APIs of Ollama and TGI have in
/// their place.
fn as_root(value: &Value) -> Option<&Map<String, Value>> {
    let fields = value.as_object()?;
    let has_choices = CHOICES.iter().any(|name| !value[*name].is_null());
    let is_ollama_s = fields.contains_key("done") && value["response"].is_string();
    let is_one = has_choices
        || is_ollama_s
        || value["message"].get("content").is_some()
        || fields.contains_key("generated_text");
    is_one.then_some(fields)
}

/// Returns the values in a value, those of likely names first.
fn wrapped(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(values) => values.iter().collect(),
        Value::Object(fields) => {
            let known = WRAPPERS.iter().filter_map(|name| fields.get(*name));
            let others = fields
                .iter()
                .filter(|(name, _)| !WRAPPERS.contains(&name.as_str()));
            known.chain(others.map(|(_, value)| value)).collect()
        }
        _ => Vec::new(),
    }
}

/// Returns the choice that is the answer. Only one was asked for; of several, the one with index 0
/// counts, else the first.
pub(super) fn choice(root: &Map<String, Value>) -> Option<Value> {
    let choices = match CHOICES
        .iter()
        .filter_map(|name| root.get(*name))
        .find(|it| !it.is_null())
    {
        Some(Value::Array(choices)) => choices.iter().collect(),
        Some(choice) => vec![choice],
        None => return Some(Value::Object(root.clone())),
    };
    let choices: Vec<&Value> = choices.into_iter().filter(|choice| !choice.is_null()).collect();
    let is_first = |choice: &&&Value| match &choice["index"] {
        Value::String(index) => index == "0",
        index => index.as_u64().unwrap_or(0) == 0,
    };
    let choice = choices.iter().find(is_first).or(choices.first())?;
    Some(match choice {
        Value::Object(_) => (*choice).clone(),
        text => Value::Object([("text".to_string(), (*text).clone())].into_iter().collect()),
    })
}

/// A choice, parsed.
#[derive(Debug, Default)]
pub(super) struct ParsedChoice {
    /// Its text, reasoning and the like.
    pub parts: Parts,
    /// Its `finish_reason`; null if there is none.
    pub end: Value,
    /// Its tokens with their logprobs, if it has them.
    pub logprobs: Option<Vec<ReportedToken>>,
    /// Whether it is a delta of a stream.
    pub is_delta: bool,
}

impl ParsedChoice {
    /// Reads a choice. The first text that is not empty counts: servers leave fields empty that
    /// they do not use.
    ///
    /// # Errors
    ///
    /// The type of the value that is in place of a text.
    pub fn of(choice: &Value) -> Result<ParsedChoice, &'static str> {
        let fields = choice.as_object().cloned().unwrap_or_default();
        let holders = [&choice["message"], &choice["delta"], &choice["messages"], choice];
        let mut parts = Parts::default();
        let mut wrong = None;
        let texts = [&choice["text"]]
            .into_iter()
            .chain(holders.into_iter().flat_map(texts));
        for text in texts {
            let mut more = Parts::default();
            match more.take(text) {
                Ok(()) => parts.extend(more),
                Err(what) => wrong = Some(what),
            }
            if !parts.text.is_empty() {
                break;
            }
        }
        if let (false, Some(what)) = (parts.has_text, wrong) {
            return Err(what);
        }
        for holder in holders {
            if parts.reasoning.is_empty()
                && let Some(thoughts) = holder.as_object().and_then(|fields| first(fields, &REASONING))
            {
                parts.take_reasoning(thoughts);
            }
            if parts.arguments.is_empty() {
                parts.take_arguments(holder);
            }
            if parts.refusal.is_empty() {
                parts.take_refusal(&holder["refusal"]);
            }
        }
        let is_done = (choice["done"] == true).then(|| "done".into());
        let end = first(&fields, &ENDS).filter(|end| !is_unsaid(end)).cloned();
        Ok(ParsedChoice {
            parts,
            end: end.or(is_done).unwrap_or_default(),
            logprobs: logprobs::tokens(choice),
            is_delta: !is_empty(&choice["delta"]),
        })
    }
}

/// Returns the texts of a message, in the order in which they are tried.
fn texts(holder: &Value) -> Vec<&Value> {
    match holder {
        Value::Object(fields) => TEXTS.iter().filter_map(|name| fields.get(*name)).collect(),
        other => vec![other],
    }
}

/// Joins the deltas of a stream to one answer. Some services send the whole answer once more at the
/// end.
pub(super) fn joined(choices: Vec<ParsedChoice>) -> ParsedChoice {
    let mut whole = ParsedChoice::default();
    let is_added = choices
        .iter()
        .any(|choice| choice.is_delta && !choice.parts.text.is_empty());
    for choice in choices {
        if !is_added || choice.is_delta {
            whole.parts.extend(choice.parts);
            if let Some(more) = choice.logprobs {
                whole.logprobs.get_or_insert_default().extend(more);
            }
        }
        if !choice.end.is_null() {
            whole.end = choice.end;
            break;
        }
    }
    whole.is_delta = true;
    whole
}
