//! The columns that a parser reads, by the format's names or by those that `--map` gives.

use crate::interchange::{
    Format,
    json::Fields,
    mapping::{Mapping, Role},
};

/// The names of the columns to read, by role, the likeliest first.
#[derive(Debug)]
pub(super) struct ColumnNames {
    pub(super) instruction: Vec<String>,
    pub(super) input: Vec<String>,
    pub(super) output: Vec<String>,
    pub(super) system: Vec<String>,
    pub(super) messages: Vec<String>,
}

impl ColumnNames {
    pub(super) fn new(format: Format, mapping: &Mapping) -> ColumnNames {
        let names = |roles: &[Role], names: &[&str]| match roles.iter().find_map(|role| mapping.column(*role))
        {
            Some(column) => vec![column.to_owned()],
            None => names.iter().map(|name| (*name).to_owned()).collect(),
        };
        // Texts without prompts: training and scoring use the whole text.
        let alone = mapping.column(Role::Completion).is_some() && mapping.column(Role::Prompt).is_none();
        ColumnNames {
            instruction: match alone {
                true => Vec::new(),
                false => names(&[Role::Instruction, Role::Prompt], format.questions()),
            },
            input: names(&[Role::Input], format.inputs()),
            output: names(&[Role::Output, Role::Completion], format.answers()),
            system: names(&[Role::System], format.systems()),
            messages: names(&[Role::Messages], &format.conversations()),
        }
    }
}

/// Returns the name of the column to read, other than those in `but`: the first that has a value
/// under exactly this name, else under a name in another case, else the first that the row has at
/// all, else the first.
pub(super) fn present<'n>(fields: &Fields<'_>, names: &'n [String], but: &[&str]) -> &'n str {
    let names = names
        .iter()
        .map(String::as_str)
        .filter(|name| !but.contains(name));
    let is_exact = |name: &&str| fields.get_exact(name).is_some_and(|value| !value.is_null());
    let named = |name: &&str| fields.find(name).is_some();
    let has = |name: &&str| has(fields, name);
    let first = names.clone().next().unwrap_or_default();
    names
        .clone()
        .find(is_exact)
        .or_else(|| names.clone().find(has))
        .or_else(|| names.clone().find(named))
        .unwrap_or(first)
}

/// Whether the row has a value in this column that is not null.
pub(super) fn has(fields: &Fields<'_>, name: &str) -> bool {
    fields.find(name).is_some_and(|value| !value.is_null())
}

/// Returns the text of a column, and removes the column from the fields that are left. A value
/// within another column stays there, since the rest of that column is kept.
pub(super) fn text(fields: &mut Fields<'_>, name: &str) -> Result<String, String> {
    match (fields.get(name), fields.find(name)) {
        (None, Some(value)) => value.text().map_err(|what| format!("`{name}` {what}")),
        _ => fields.text(name),
    }
}
