//! Parses lists of tasks as JSON: an object with a list, a list, or objects on lines; complete, or
//! cut off anywhere.

use super::{Flaw, ListItem, ParsedTask};
use crate::backend::FinishReason;
use crate::generate::parse::is_no_input;
use crate::task::Instance;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// A task in the form of the schema.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskObject {
    instruction: String,
    #[serde(default)]
    input: Option<String>,
    output: String,
}

/// Parses a response that should be JSON. Every complete object that is a task counts, whatever is
/// around it. The object in which the response was cut off is truncated.
pub fn objects(answer: &str, finish: FinishReason) -> Vec<ListItem<'_>> {
    let mut items = Vec::new();
    let mut rest = answer;
    loop {
        rest = skip_around(rest);
        if rest.is_empty() {
            return items;
        }
        let (length, task) = next(rest, finish);
        let (text, after) = rest.split_at(length);
        if text.contains(char::is_alphanumeric) {
            items.push(ListItem {
                text: text.trim(),
                task,
            });
        }
        rest = after;
    }
}

/// Parses the beginning of a text that is not empty. Returns its length and the task, or why it is
/// none.
fn next(text: &str, finish: FinishReason) -> (usize, Result<ParsedTask, Flaw>) {
    if !text.starts_with('{') {
        let length = text.find('{').unwrap_or(text.len());
        let cut = length == text.len() && finish == FinishReason::Length;
        let flaw = if cut {
            Flaw::TRUNCATED
        } else {
            Flaw::unparsed("no object")
        };
        return (length, Err(flaw));
    }
    if let Some((object, length)) = read::<TaskObject>(text) {
        return (length, task(object));
    }
    if let Some((_, length)) = read::<IgnoredAny>(text) {
        return (length, Err(Flaw::unparsed("another object")));
    }
    // Broken JSON goes on up to the next object that is a task.
    let mut before = '{';
    for (at, c) in text.char_indices().skip(1) {
        if c == '{' && matches!(before, ',' | '[' | '}' | '\n') && read::<TaskObject>(&text[at..]).is_some() {
            return (at, Err(Flaw::unparsed("no JSON")));
        }
        if c == '\n' || !c.is_whitespace() {
            before = c;
        }
    }
    let flaw = match finish {
        FinishReason::Length => Flaw::TRUNCATED,
        FinishReason::Stop => Flaw::unparsed("no JSON"),
    };
    (text.len(), Err(flaw))
}

/// The JSON value at the beginning of a text, with its length.
fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Option<(T, usize)> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<T>();
    let value = stream.next()?.ok()?;
    Some((value, stream.byte_offset()))
}

/// Checks the fields of a task.
fn task(object: TaskObject) -> Result<ParsedTask, Flaw> {
    let [instruction, input, output] = [
        object.instruction,
        object.input.unwrap_or_default(),
        object.output,
    ]
    .map(|text| text.trim().to_string());
    if instruction.is_empty() {
        return Err(Flaw::unparsed("no instruction"));
    }
    if output.is_empty() {
        return Err(Flaw::unparsed("no output"));
    }
    let input = if is_no_input(&input) { String::new() } else { input };
    Ok(ParsedTask {
        instruction,
        instance: Instance { input, output },
    })
}

/// Skips text between tasks: commas, brackets, code fences, and the name of the list.
fn skip_around(mut text: &str) -> &str {
    loop {
        text = text.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']' | '}'));
        text = match text.strip_prefix("```") {
            Some(rest) => rest.strip_prefix("json").unwrap_or(rest),
            None => match list(text) {
                Some(rest) => rest,
                None => return text,
            },
        };
    }
}

/// The text after `{"tasks": [`, with any name.
fn list(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('{')?.trim_start().strip_prefix('"')?;
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let rest = rest.strip_prefix('"')?.trim_start().strip_prefix(':')?;
    rest.trim_start().strip_prefix('[')
}
