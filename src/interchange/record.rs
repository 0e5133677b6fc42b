//! Rows of the dataset as objects of the formats, with all that their files said besides.

use serde::Serialize;

use super::{
    Format,
    extra::Extra,
    fields::Json,
    format::{CONVERSATIONS, DOLLY_CATEGORIES},
    parse::{GROUP, Need},
};
use crate::store::ExportRow;

/// Which fields beside those of the format a file has. Those that any row needs are in all of them, since readers take the columns
/// of the first rows for those of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Given {
    /// Which rows are one task's.
    pub(super) group: bool,
    /// The system message, where it is no message of a conversation.
    pub(super) system: bool,
    /// What rows said besides.
    pub(super) extra: bool,
    /// That is apart from the format's fields, as in a table, whose columns are of one type each; else it is among them.
    pub(super) apart: bool,
}

/// A field that the formats do not have gets this before its name where it would be taken for one of theirs.
const PREFIX: &str = "ewe_";

/// An object: names and JSON values, in order.
#[derive(Debug, Default)]
pub(super) struct Record {
    fields: Vec<(String, String)>,
    extra: Extra,
}

impl Record {
    /// An example.
    pub(super) fn of_row(row: &ExportRow, format: Format, group: Option<u64>, given: &Given) -> Record {
        let mut record = Record::default();
        let mut extra = extra(row, given);
        match format {
            Format::Dolly => {
                record.push("instruction", &row.instruction);
                record.push("context", &row.input);
                record.push("response", &row.output);
                record.push("category", category(row));
            }
            Format::Chat => {
                let rest = match given.apart {
                    true => Vec::new(),
                    false => rest_of_messages(&mut extra),
                };
                let messages = messages(row, rest);
                record.fields.push(("messages".into(), messages));
            }
            Format::Completion => {
                record.push("prompt", &question(row, true));
                record.push("completion", &row.output);
            }
            _ => {
                record.push("instruction", &row.instruction);
                record.push("input", &row.input);
                record.push("output", &row.output);
            }
        }
        if given.system && matches!(format, Format::Alpaca | Format::Dolly) {
            record.push("system", row.system.as_deref().unwrap_or_default());
        }
        if given.group {
            record.push(GROUP, &group);
        }
        record.extra = match given.apart {
            true => extra,
            false => untaken(extra, &record.fields, format),
        };
        record
    }

    /// A task, of all of its rows.
    pub(super) fn of_task(rows: &[ExportRow], given: &Given) -> Record {
        let first = &rows[0];
        let mut record = Record::default();
        let number = || format!("ewe_{}", first.task_id);
        record.push("id", &first.source_id.clone().unwrap_or_else(number));
        record.push("name", &first.name);
        record.push("instruction", &first.instruction);
        let mut extra_of_task = extra(first, given);
        let rest = extra_of_task.take_list("instances").unwrap_or_default();
        let rest: Vec<Extra> = rows
            .iter()
            .enumerate()
            .map(|(place, row)| {
                // What the first row says is said of the task.
                let mut extra = match place {
                    0 => Extra::default(),
                    _ => extra(row, given),
                };
                extra.put_before(rest.get(place).cloned().unwrap_or_default());
                extra
            })
            .collect();
        let instance = |(row, rest): (&ExportRow, &Extra)| {
            let mut instance = Record::default();
            instance.push("input", &row.input);
            instance.push("output", &row.output);
            if !given.apart {
                instance.extra = rest.clone();
            }
            instance.line()
        };
        let instances: Vec<String> = rows.iter().zip(&rest).map(instance).collect();
        if given.apart {
            extra_of_task.push_list("instances", &rest);
        }
        record
            .fields
            .push(("instances".into(), format!("[{}]", instances.join(","))));
        record.push("is_classification", &first.is_classification);
        if given.system {
            record.push("system", first.system.as_deref().unwrap_or_default());
        }
        record.extra = match given.apart {
            true => extra_of_task,
            false => untaken(extra_of_task, &record.fields, Format::SelfInstruct),
        };
        record
    }

    fn push(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        let value = serde_json::to_string(value).expect("texts and numbers are JSON");
        self.fields.push((name.to_owned(), value));
    }

    /// On one line.
    pub(super) fn line(&self) -> String {
        let fields = self.all().map(|(name, value)| format!("{}:{value}", text(name)));
        format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
    }

    /// As an element of an array, with the indentation of `alpaca_data.json`.
    pub(super) fn indented(&self) -> String {
        let fields = self
            .all()
            .map(|(name, value)| format!("        {}: {value}", text(name)));
        format!("    {{\n{}\n    }}", fields.collect::<Vec<_>>().join(",\n"))
    }

    /// The fields of the format, and all others as one text: a table has one type for a column.
    pub(super) fn into_columns(self) -> (Vec<(String, String)>, Option<String>) {
        (self.fields, self.extra.to_column())
    }

    fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        let fields = self
            .fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        fields.chain(self.extra.fields())
    }
}

fn text(name: &str) -> String {
    serde_json::to_string(name).expect("a name is a text")
}

fn extra(row: &ExportRow, given: &Given) -> Extra {
    match &row.extra {
        Some(json) if given.extra => Extra::parse(json).unwrap_or_default(),
        _ => Extra::default(),
    }
}

/// The fields under names that are not taken, and by which nobody takes the row for one of another format.
fn untaken(extra: Extra, fields: &[(String, String)], format: Format) -> Extra {
    let taken = |name: &str| fields.iter().any(|(field, _)| field == name) || name == GROUP;
    let misleads = |name: &str| {
        let has = |field: &str| field == name || taken(field);
        Format::of_columns(has, has, Need::Task) != Some(format)
    };
    extra.renamed(|name| match taken(name) || misleads(name) {
        true => Some(format!("{PREFIX}{name}")),
        false => None,
    })
}

/// What messages said besides, taken out of what the row said.
fn rest_of_messages(extra: &mut Extra) -> Vec<Extra> {
    for name in CONVERSATIONS {
        for name in [(*name).to_owned(), format!("{PREFIX}{name}")] {
            if let Some(rest) = extra.take_list(&name) {
                return rest;
            }
        }
    }
    Vec::new()
}

/// The messages, each with what it said besides.
fn messages(row: &ExportRow, mut rest: Vec<Extra>) -> String {
    let system = row.system.as_deref().map(|system| ("system", system.to_owned()));
    let said = [("user", question(row, false)), ("assistant", row.output.clone())];
    let said: Vec<_> = system.into_iter().chain(said).collect();
    // A system message without text was none.
    if rest.len() > said.len() {
        rest.drain(..rest.len() - said.len());
    }
    let empty = said.len() - rest.len();
    let rest = std::iter::repeat_n(Extra::default(), empty).chain(rest);
    let messages = said.into_iter().zip(rest).map(|((role, content), rest)| {
        let mut message = Record::default();
        message.push("role", role);
        message.push("content", &content);
        let own = |name: &str| message.fields.iter().any(|(field, _)| field == name);
        message.extra = rest.renamed(|name| own(name).then(|| format!("{PREFIX}{name}")));
        message.line()
    });
    format!("[{}]", messages.collect::<Vec<_>>().join(","))
}

/// What somebody would ask: the instruction, and after an empty line the input; before them, the system message.
fn question(row: &ExportRow, with_system: bool) -> String {
    let system = row.system.as_deref().filter(|_| with_system);
    let input = Some(row.input.as_str()).filter(|input| !input.is_empty());
    let parts = [system, Some(&row.instruction), input];
    parts.into_iter().flatten().collect::<Vec<_>>().join("\n\n")
}

/// The task's name where it is a category of Dolly's, else what the row looks like.
fn category(row: &ExportRow) -> &str {
    match row.name.as_deref() {
        Some(name) if DOLLY_CATEGORIES.contains(&name) => name,
        _ if row.is_classification => "classification",
        _ if row.input.is_empty() => "general_qa",
        _ => "closed_qa",
    }
}

/// The object as values.
pub(super) fn value(json: &str) -> serde_json::Value {
    Json::of(json)
        .and_then(|json| serde_json::from_str(json.get()).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(extra: &str) -> ExportRow {
        ExportRow {
            task_id: 7,
            source_id: None,
            name: None,
            instruction: "q".into(),
            input: String::new(),
            output: "a".into(),
            is_classification: false,
            system: Some("s".into()),
            extra: Some(extra.into()),
        }
    }

    const GIVEN: Given = Given {
        group: false,
        system: true,
        extra: true,
        apart: false,
    };

    #[test]
    fn what_a_file_said_is_written_back() {
        let chat = row(r#"{"id":1,"messages":[{},{"name":"Ann"},{"tool_calls":[1]}]}"#);
        assert_eq!(
            Record::of_row(&chat, Format::Chat, None, &GIVEN).line(),
            concat!(
                r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"q","name":"Ann"},"#,
                r#"{"role":"assistant","content":"a","tool_calls":[1]}],"id":1}"#
            )
        );
        assert_eq!(
            Record::of_row(&chat, Format::Completion, None, &GIVEN).line(),
            r#"{"prompt":"s\n\nq","completion":"a","id":1,"ewe_messages":[{},{"name":"Ann"},{"tool_calls":[1]}]}"#
        );
    }

    #[test]
    fn no_field_is_taken_for_one_of_the_format() {
        let other = row(r#"{"output":"b","response":"c","instances":[],"n":123456789012345678901234567890}"#);
        let record = Record::of_row(&other, Format::Alpaca, Some(3), &Given { group: true, ..GIVEN });
        assert_eq!(
            record.line(),
            concat!(
                r#"{"instruction":"q","input":"","output":"a","system":"s","ewe_group":3,"#,
                r#""ewe_output":"b","ewe_response":"c","ewe_instances":[],"n":123456789012345678901234567890}"#
            )
        );
    }

    #[test]
    fn instances_say_what_their_rows_said() {
        let rows = [
            row(r#"{"lang":"en","instances":[{},{"x":1}]}"#),
            row(r#"{"y":2}"#),
        ];
        assert_eq!(
            Record::of_task(
                &rows,
                &Given {
                    system: false,
                    ..GIVEN
                }
            )
            .line(),
            concat!(
                r#"{"id":"ewe_7","name":null,"instruction":"q","instances":[{"input":"","output":"a"},"#,
                r#"{"input":"","output":"a","x":1,"y":2}],"is_classification":false,"lang":"en"}"#
            )
        );
    }
}
