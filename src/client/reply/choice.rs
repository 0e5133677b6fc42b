//! Where an answer stands in what came: one of several choices, in its message, in what is added to
//! it, or beside both.

use super::end::is_unsaid;
use super::parts::{Parts, first};
use crate::client::lenient::is_empty;
use serde_json::{Map, Value};

/// Under which names services have their choices.
const CHOICES: [&str; 2] = ["choices", "candidates"];
/// What others wrap the usual object in, looked into first.
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
/// Under which names a message or a choice has its text, and what was thought.
const TEXTS: [&str; 6] = [
    "content",
    "text",
    "parts",
    "output_text",
    "generated_text",
    "response",
];
const THOUGHTS: [&str; 8] = [
    "reasoning_content",
    "reasoning",
    "reasoning_details",
    "reasoning_text",
    "thinking",
    "thinking_blocks",
    "thinking_content",
    "thoughts",
];
/// Under which names the word for the end stands.
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

/// The object with the choices, wherever in a value. What an error is told with is none.
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

/// The error that came in place of an answer.
pub(super) fn error(value: &Value) -> Option<&Value> {
    (has_error(value) && as_root(value).is_none()).then(|| &value["error"])
}

fn has_error(value: &Value) -> bool {
    !is_empty(&value["error"]) && value["error"] != false
}

/// The object itself, where it has choices, or in their place what the own APIs of Ollama and TGI
/// have.
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

/// The choice that is the answer: no more than one was asked for. Of several it is the one with
/// index 0, or else the first.
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

/// What a choice says.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub parts: Parts,
    /// The word for its end; null where there is none.
    pub end: Value,
    /// Whether it is a piece of an answer, to which others belong.
    pub is_piece: bool,
}

impl Said {
    /// Reads a choice. The first text counts that says something: servers fill in with nothing what
    /// they do not use.
    ///
    /// # Errors
    ///
    /// What stands in the place of a text.
    pub fn of(choice: &Value) -> Result<Said, &'static str> {
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
                && let Some(thoughts) = holder.as_object().and_then(|fields| first(fields, &THOUGHTS))
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
        Ok(Said {
            parts,
            end: end.or(is_done).unwrap_or_default(),
            is_piece: !is_empty(&choice["delta"]),
        })
    }
}

/// The texts of a message, in the order in which they are looked at.
fn texts(holder: &Value) -> Vec<&Value> {
    match holder {
        Value::Object(fields) => TEXTS.iter().filter_map(|name| fields.get(*name)).collect(),
        other => vec![other],
    }
}

/// One answer of the pieces of a stream. Where pieces were added one by one, some services tell the
/// whole once more at the end.
pub(super) fn joined(pieces: Vec<Said>) -> Said {
    let mut whole = Said::default();
    let is_added = pieces
        .iter()
        .any(|said| said.is_piece && !said.parts.text.is_empty());
    for piece in pieces {
        if !is_added || piece.is_piece {
            whole.parts.extend(piece.parts);
        }
        if !piece.end.is_null() {
            whole.end = piece.end;
            break;
        }
    }
    whole.is_piece = true;
    whole
}
