//! Fields that people added, as columns and as the values of a row.

use std::sync::Arc;

use arrow_schema::{DataType, Field};

use crate::interchange::{
    Format,
    format::{CATEGORY, GROUP, HISTORY, PREFIX},
    json::Json,
};
use crate::task::{ExportRow, FieldColumn, FieldType};

/// The value of a field in a row, as JSON.
fn value<'a>(row: &'a ExportRow, column: &FieldColumn) -> Option<&'a str> {
    let field = row.fields.iter().find(|field| field.name == column.name)?;
    field.value.as_deref()
}

/// The category that people gave a row, as JSON.
pub(super) fn category(row: &ExportRow) -> Option<&str> {
    let field = row.fields.iter().find(|field| field.name == CATEGORY)?;
    field.value.as_deref().filter(|value| value.starts_with('"'))
}

/// Returns the values of a row, as JSON, with the names of their columns: null where it has none.
pub(super) fn values<'a>(
    row: &'a ExportRow,
    fields: &'a [FieldColumn],
    format: Format,
) -> impl Iterator<Item = (String, String)> + 'a {
    let own = fields.iter().filter(move |field| !is_of_format(field, format));
    own.map(move |field| {
        let json = value(row, field).unwrap_or("null");
        (column_name(field, format), json.to_owned())
    })
}

/// Whether the format has a place for a field, so it needs no column of its own.
fn is_of_format(field: &FieldColumn, format: Format) -> bool {
    format == Format::Dolly && field.name == CATEGORY
}

/// Returns the name of the column of a field: with a prefix where the format has it already, or
/// the row would be taken for one of another format.
fn column_name(column: &FieldColumn, format: Format) -> String {
    let taken = [
        "system",
        "system_prompt",
        "extra",
        "name",
        "id",
        "instances",
        "is_classification",
        "task_id",
        GROUP,
        HISTORY,
    ];
    let is_format = Format::ALL
        .iter()
        .any(|other| other.fields().contains(&column.name.as_str()));
    let is_input = ["input", "context", CATEGORY].contains(&column.name.as_str())
        && (column.name != CATEGORY || format == Format::Dolly);
    match taken.contains(&column.name.as_str()) || is_format || is_input {
        true => format!("{PREFIX}{}", column.name),
        false => column.name.clone(),
    }
}

/// Returns the columns for the fields of people.
pub(super) fn columns(fields: &[FieldColumn], format: Format) -> Vec<Field> {
    let mut columns = Vec::new();
    for field in fields {
        if is_of_format(field, format) {
            continue;
        }
        let kind = match field.kind {
            FieldType::Text | FieldType::Choice => DataType::Utf8,
            FieldType::Number if field.has_fractions => DataType::Float64,
            FieldType::Number => DataType::Int64,
            FieldType::Flag => DataType::Boolean,
            FieldType::Tags => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
        };
        columns.push(Field::new(column_name(field, format), kind, true));
    }
    columns
}

/// Parses the JSON of a column for a table.
pub(super) fn parsed(json: &str) -> serde_json::Value {
    Json::of(json)
        .and_then(|json| serde_json::from_str(json.get()).ok())
        .unwrap_or_default()
}
