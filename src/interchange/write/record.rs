//! Rows of a dataset as records of a format: as JSON objects, or as columns.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields};
use serde::Serialize;

use crate::interchange::{
    Format,
    extra::Extra,
    format::{CATEGORY, CONVERSATIONS, DOLLY_CATEGORIES, GROUP, HISTORY, PREFIX},
};
use crate::task::{ExportRow, FieldColumn};

use super::{
    dialect::{self, CHAT, Dialect, SHARE_GPT},
    field,
    tree::Tree,
    untaken::{untaken, untaken_in_instance},
};

/// Which fields a file has besides those of its format. A field that any row needs is in all rows,
/// since readers take the columns of the first rows for those of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExtraFields {
    /// The number that marks rows of one task.
    pub(super) group: bool,
    /// The system message, unless it is a message of a conversation.
    pub(super) system: bool,
    /// Earlier questions with their answers, in format `alpaca`.
    pub(super) history: bool,
    /// The other fields of the imported rows.
    pub(super) extra: bool,
    /// The other fields are one field of JSON, as in a table, whose columns have one type each.
    /// Otherwise they are beside the fields of the format.
    pub(super) apart: bool,
    /// Fields that people added, which are columns of a table.
    pub(super) fields: Vec<FieldColumn>,
}

/// One JSON object: names and JSON values, in order.
#[derive(Debug, Default)]
pub(super) struct Record {
    fields: Vec<(String, String)>,
    extra: Extra,
}

impl Record {
    /// Makes a record of one row. `group` marks the rows of one task.
    pub(super) fn of_row(
        row: &ExportRow,
        format: Format,
        group: Option<u64>,
        extra_fields: &ExtraFields,
    ) -> Record {
        let mut record = Record::default();
        let mut extra = extra(row, extra_fields);
        match format {
            Format::Dolly => {
                record.push("instruction", &row.instruction);
                record.push("context", &row.input);
                record.push("response", &row.output);
                match field::category(row).filter(|_| extra_fields.extra) {
                    Some(own) => {
                        let _ = extra.take(CATEGORY);
                        record.fields.push((CATEGORY.into(), own.to_owned()));
                    }
                    None => record.push(CATEGORY, category(row)),
                }
            }
            Format::Chat | Format::ShareGpt => {
                let rest = match extra_fields.apart {
                    true => Vec::new(),
                    false => rest_of_messages(&mut extra),
                };
                let dialect = match format {
                    Format::ShareGpt => &SHARE_GPT,
                    _ => &CHAT,
                };
                let messages = dialect::messages(row, question(row, false), rest, dialect);
                record.fields.push((dialect.list.into(), messages));
            }
            Format::Alpaca if extra_fields.history && has_history(row, group, extra_fields) => {
                let (history, last) = dialect::history(row, question(row, false));
                record.push("instruction", &last.instruction);
                record.push("input", &last.input);
                record.push("output", &last.output);
                record.fields.push((HISTORY.into(), history));
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
        let has_later = record.fields.iter().any(|(name, _)| name == HISTORY);
        if extra_fields.history && format == Format::Alpaca && !has_later {
            record.fields.push((HISTORY.into(), "[]".into()));
        }
        if extra_fields.system && matches!(format, Format::Alpaca | Format::Dolly) {
            record.push("system", row.system.as_deref().unwrap_or_default());
        }
        if extra_fields.group {
            record.push(GROUP, &group);
        }
        let is_conversation = matches!(format, Format::Chat | Format::ShareGpt);
        if extra_fields.extra && !has_later && (!is_conversation || extra_fields.apart) {
            extra.push_later(row.turns.as_deref());
        }
        record.extra = match extra_fields.apart {
            true => {
                record.push_fields(row, extra_fields, format);
                extra
            }
            false => {
                let says_system = is_conversation && row.system.is_some();
                untaken(extra, &record.fields, format, says_system)
            }
        };
        record
    }

    /// Makes a record of a task, in the format of Self-Instruct.
    pub(super) fn of_task(rows: &[ExportRow], extra_fields: &ExtraFields) -> Record {
        let first = &rows[0];
        let mut record = Record::default();
        let number = || format!("ewe_{}", first.task_id);
        record.push("id", &first.source_id.clone().unwrap_or_else(number));
        record.push("name", &first.name);
        record.push("instruction", &first.instruction);
        let mut extra_of_task = extra(first, extra_fields);
        let rest = extra_of_task.take_list("instances").unwrap_or_default();
        let rest: Vec<Extra> = rows
            .iter()
            .enumerate()
            .map(|(place, row)| {
                // The other fields of the first row are those of the task.
                let mut extra = match place {
                    0 => Extra::default(),
                    // What people say of a task is said once.
                    _ => extra_of_row(row, extra_fields),
                };
                extra.put_before(rest.get(place).cloned().unwrap_or_default());
                if extra_fields.extra {
                    extra.push_later(row.turns.as_deref());
                }
                extra
            })
            .collect();
        let instance = |(row, rest): (&ExportRow, &Extra)| {
            let mut instance = Record::default();
            instance.push("input", &row.input);
            instance.push("output", &row.output);
            if !extra_fields.apart {
                instance.extra = untaken_in_instance(rest.clone());
            }
            instance.line()
        };
        let instances: Vec<String> = rows.iter().zip(&rest).map(instance).collect();
        if extra_fields.apart {
            extra_of_task.push_list("instances", &rest);
        }
        record
            .fields
            .push(("instances".into(), format!("[{}]", instances.join(","))));
        record.push("is_classification", &first.is_classification);
        if extra_fields.system {
            record.push("system", first.system.as_deref().unwrap_or_default());
        }
        record.extra = match extra_fields.apart {
            true => {
                record.push_fields(first, extra_fields, Format::SelfInstruct);
                extra_of_task
            }
            false => untaken(extra_of_task, &record.fields, Format::SelfInstruct, false),
        };
        record
    }

    /// Makes records of a task, in which the rows of one question are a tree. The first one has the
    /// number `number` in its file.
    pub(super) fn trees_of(rows: &[ExportRow], number: usize, extra_fields: &ExtraFields) -> Vec<Record> {
        let mut extras = Vec::new();
        let mut said = Vec::new();
        for row in rows {
            let mut extra = extra(row, extra_fields);
            said.push((question(row, false), rest_of_messages(&mut extra)));
            extras.push(extra);
        }
        let trees = Tree::of_task(rows, said).into_iter();
        (number..)
            .zip(trees)
            .map(|(number, (place, tree))| {
                let mut extra = std::mem::take(&mut extras[place]);
                if extra_fields.extra && tree.is_cut() {
                    extra.push_later(rows[place].turns.as_deref());
                }
                let mut record = Record {
                    fields: tree.fields(number, &extra, !extra_fields.extra),
                    extra: Extra::default(),
                };
                if let Some(system) = &rows[place].system {
                    record.push("system", system);
                }
                record.extra = untaken(extra, &record.fields, Format::Oasst, false);
                record
            })
            .collect()
    }

    /// Adds the fields of people as columns, with null where a row has none.
    fn push_fields(&mut self, row: &ExportRow, extra_fields: &ExtraFields, format: Format) {
        if extra_fields.extra {
            self.fields
                .extend(field::values(row, &extra_fields.fields, format));
        }
    }

    fn push(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        let value = serde_json::to_string(value).expect("texts and numbers are JSON");
        self.fields.push((name.to_owned(), value));
    }

    /// Returns the object on one line.
    pub(super) fn line(&self) -> String {
        let fields = self.all().map(|(name, value)| format!("{}:{value}", text(name)));
        format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
    }

    /// Returns the object as an element of an array, indented as in `alpaca_data.json`.
    pub(super) fn indented(&self) -> String {
        let fields = self
            .all()
            .map(|(name, value)| format!("        {}: {value}", text(name)));
        format!("    {{\n{}\n    }}", fields.collect::<Vec<_>>().join(",\n"))
    }

    /// Returns the fields of the format, and the other fields as one JSON object.
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

/// Whether the earlier turns of a row are in Alpaca's `history`. There, the first question has no
/// input of its own; in a task of several rows, it would no more be the question of the others.
fn has_history(row: &ExportRow, group: Option<u64>, extra_fields: &ExtraFields) -> bool {
    let is_apart = extra_fields.group && group.is_some() && !row.input.is_empty();
    !is_apart && dialect::has_history(row)
}

/// Returns the other fields of a row, if the file has them, and those that people added, unless
/// they are columns.
fn extra(row: &ExportRow, extra_fields: &ExtraFields) -> Extra {
    let mut extra = extra_of_row(row, extra_fields);
    match (extra_fields.extra, extra_fields.apart) {
        (false, _) => {}
        (true, true) => extra.without_fields(&row.fields),
        (true, false) => extra.put_fields(&row.fields),
    }
    extra
}

/// Returns the other fields of a row as it was imported, if the file has them.
fn extra_of_row(row: &ExportRow, extra_fields: &ExtraFields) -> Extra {
    match &row.extra {
        Some(json) if extra_fields.extra => Extra::parse(json).unwrap_or_default(),
        _ => Extra::default(),
    }
}

/// Returns the other fields of a row as one column, with the later messages of a conversation.
pub(super) fn extra_with_turns(row: &ExportRow) -> Option<String> {
    if row.turns.is_none() && row.fields.is_empty() {
        return row.extra.clone();
    }
    let extra = row.extra.as_deref().and_then(Extra::parse);
    let mut extra = extra.unwrap_or_default();
    extra.without_fields(&row.fields);
    extra.push_later(row.turns.as_deref());
    extra.to_column()
}

/// Removes the other fields of the messages from those of the row.
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

/// Returns the question as one text: system message, instruction and input, with empty lines
/// between them.
fn question(row: &ExportRow, with_system: bool) -> String {
    let system = row.system.as_deref().filter(|_| with_system);
    let input = Some(row.input.as_str()).filter(|input| !input.is_empty());
    let parts = [system, Some(&row.instruction), input];
    parts.into_iter().flatten().collect::<Vec<_>>().join("\n\n")
}

/// Returns the Dolly category: the task's name if it is one, else a guess by the row.
fn category(row: &ExportRow) -> &str {
    match row.name.as_deref() {
        Some(name) if DOLLY_CATEGORIES.contains(&name) => name,
        _ if row.is_classification => "classification",
        _ if row.input.is_empty() => "general_qa",
        _ => "closed_qa",
    }
}

/// Returns the columns of a format in a table.
pub(super) fn columns(format: Format, extra_fields: &ExtraFields) -> Vec<Field> {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let list = |name: &str, fields: Vec<Field>| {
        let element = Field::new_list_field(DataType::Struct(Fields::from(fields)), true);
        Field::new(name, DataType::List(Arc::new(element)), true)
    };
    let conversation =
        |dialect: &Dialect| list(dialect.list, vec![text(dialect.role), text(dialect.content)]);
    let mut columns = match format {
        Format::Dolly => ["instruction", "context", "response", "category"]
            .map(text)
            .to_vec(),
        Format::Chat => vec![conversation(&CHAT)],
        Format::ShareGpt => vec![conversation(&SHARE_GPT)],
        Format::Completion => ["prompt", "completion"].map(text).to_vec(),
        Format::SelfInstruct => vec![
            text("id"),
            text("name"),
            text("instruction"),
            list("instances", vec![text("input"), text("output")]),
            Field::new("is_classification", DataType::Boolean, true),
        ],
        _ => ["instruction", "input", "output"].map(text).to_vec(),
    };
    if extra_fields.system && !matches!(format, Format::Chat | Format::ShareGpt | Format::Completion) {
        columns.push(text("system"));
    }
    if extra_fields.history && format == Format::Alpaca {
        let list = |of: DataType| DataType::List(Arc::new(Field::new_list_field(of, true)));
        columns.push(Field::new(HISTORY, list(list(DataType::Utf8)), true));
    }
    if extra_fields.group {
        columns.push(Field::new(GROUP, DataType::Int64, true));
    }
    if extra_fields.extra {
        columns.extend(field::columns(&extra_fields.fields, format));
        columns.push(text("extra"));
    }
    columns
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
            turns: None,
            fields: Vec::new(),
        }
    }

    const EXTRA_FIELDS: ExtraFields = ExtraFields {
        group: false,
        system: true,
        history: false,
        extra: true,
        apart: false,
        fields: Vec::new(),
    };

    #[test]
    fn what_a_file_said_is_written_back() {
        let chat = row(r#"{"id":1,"messages":[{},{"name":"Ann"},{"tool_calls":[1]}]}"#);
        assert_eq!(
            Record::of_row(&chat, Format::Chat, None, &EXTRA_FIELDS).line(),
            concat!(
                r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"q","name":"Ann"},"#,
                r#"{"role":"assistant","content":"a","tool_calls":[1]}],"id":1}"#
            )
        );
        let parts = row(r#"{"messages":[{},{"content":[{"text":"q","id":1}],"from":"x"},{}]}"#);
        assert_eq!(
            Record::of_row(&parts, Format::ShareGpt, None, &EXTRA_FIELDS).line(),
            concat!(
                r#"{"conversations":[{"from":"system","value":"s"},"#,
                r#"{"from":"human","value":"q","ewe_content":[{"text":"q","id":1}],"ewe_from":"x"},"#,
                r#"{"from":"gpt","value":"a"}]}"#
            )
        );
        assert_eq!(
            Record::of_row(&chat, Format::Completion, None, &EXTRA_FIELDS).line(),
            r#"{"prompt":"s\n\nq","completion":"a","id":1,"ewe_messages":[{},{"name":"Ann"},{"tool_calls":[1]}]}"#
        );
    }

    #[test]
    fn no_field_is_taken_for_one_of_the_format() {
        let other = row(r#"{"output":"b","response":"c","instances":[],"n":123456789012345678901234567890}"#);
        let record = Record::of_row(
            &other,
            Format::Alpaca,
            Some(3),
            &ExtraFields {
                group: true,
                ..EXTRA_FIELDS
            },
        );
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
                &ExtraFields {
                    system: false,
                    ..EXTRA_FIELDS
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
