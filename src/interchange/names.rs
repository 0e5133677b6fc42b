//! The columns that a parser looks for, under the names in use or those that a mapping gives them.

use super::{
    Format,
    fields::{Fields, Json},
    format::{ANSWERS, CONVERSATIONS, INPUTS, QUESTIONS, SYSTEMS, TURNS},
    mapping::{Mapping, Role},
};

/// The names that are looked for, the likeliest first.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) instruction: Vec<String>,
    pub(super) input: Vec<String>,
    pub(super) output: Vec<String>,
    pub(super) system: Vec<String>,
    pub(super) messages: Vec<String>,
}

impl Columns {
    pub(super) fn new(format: Format, mapping: &Mapping) -> Columns {
        let [questions, answers] = match format {
            Format::Alpaca => [&["instruction"][..], &["output"]],
            Format::Dolly => [&["instruction"][..], &["response"]],
            Format::Completion => [&["prompt"][..], &["completion"]],
            _ => [QUESTIONS, ANSWERS],
        };
        let (inputs, systems) = match format {
            Format::Completion => (&[][..], &[][..]),
            _ => (INPUTS, SYSTEMS),
        };
        let names = |roles: &[Role], names: &[&str]| match roles.iter().find_map(|role| mapping.column(*role))
        {
            Some(column) => vec![column.to_owned()],
            None => names.iter().map(|name| (*name).to_owned()).collect(),
        };
        // Texts without prompts: all of it is learnt, or scored.
        let alone = mapping.column(Role::Completion).is_some() && mapping.column(Role::Prompt).is_none();
        Columns {
            instruction: match alone {
                true => Vec::new(),
                false => names(&[Role::Instruction, Role::Prompt], questions),
            },
            input: names(&[Role::Input], inputs),
            output: names(&[Role::Output, Role::Completion], answers),
            system: names(&[Role::System], systems),
            messages: match format {
                Format::Chat => names(&[Role::Messages], &["messages"]),
                _ => names(&[Role::Messages], &[CONVERSATIONS, &[TURNS]].concat()),
            },
        }
    }
}

/// The first of the names that the row has a value for, spelt so or, where it has none, in another case; else the first that it
/// has at all, or that there is.
pub(super) fn present<'n>(fields: &Fields<'_>, names: &'n [String], but: &[&str]) -> &'n str {
    let names = names
        .iter()
        .map(String::as_str)
        .filter(|name| !but.contains(name));
    let is_exact = |name: &&str| fields.get_exact(name).is_some_and(|value| !value.is_null());
    let named = |name: &&str| find(fields, name).is_some();
    let has = |name: &&str| has(fields, name);
    let first = names.clone().next().unwrap_or_default();
    names
        .clone()
        .find(is_exact)
        .or_else(|| names.clone().find(has))
        .or_else(|| names.clone().find(named))
        .unwrap_or(first)
}

pub(super) fn has(fields: &Fields<'_>, name: &str) -> bool {
    find(fields, name).is_some_and(|value| !value.is_null())
}

/// The value of a column; `answers.text.0` is a value within one, unless a column has that name.
pub(super) fn find<'a>(fields: &Fields<'a>, name: &str) -> Option<Json<'a>> {
    if let Some(value) = fields.get(name) {
        return Some(value);
    }
    let mut path = name.split('.');
    let mut value = fields.get(path.next()?)?;
    for step in path {
        value = match value.kind() {
            "an array" => *value.elements()?.get(step.parse::<usize>().ok()?)?,
            _ => Fields::of(value.get())?.get(step)?,
        };
    }
    Some(value)
}

/// The text of a column. What is within another value stays there, since the rest of that value is kept.
pub(super) fn value(fields: &mut Fields<'_>, name: &str) -> Result<String, String> {
    match (fields.get(name), find(fields, name)) {
        (None, Some(value)) => value.text().map_err(|what| format!("`{name}` {what}")),
        _ => fields.text(name),
    }
}
