//! Rows of a dataset as an export writes them.

/// One example of the dataset, with the fields that only files of rows have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportRow {
    /// The number of the task in the dataset.
    pub task_id: i64,
    /// The task's id in the file that it was imported from.
    pub source_id: Option<String>,
    /// The task's short name.
    pub name: Option<String>,
    /// The instruction.
    pub instruction: String,
    /// The input; may be empty.
    pub input: String,
    /// The output.
    pub output: String,
    /// Whether the output is one of a few labels.
    pub is_classification: bool,
    /// The system message.
    pub system: Option<String>,
    /// The other fields of the imported row, as a JSON object.
    pub extra: Option<String>,
    /// The messages after the first answer, as a JSON list.
    pub turns: Option<String>,
    /// Fields that people added, as far as the task has, or had, a value.
    pub fields: Vec<ExportField>,
}

/// A field of a row that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportField {
    /// Its name.
    pub name: String,
    /// What the imported row calls it.
    pub column: String,
    /// Its value as JSON; `None` if it was taken away.
    pub value: Option<String>,
    /// Whether the value is not that of the imported row.
    pub is_edited: bool,
}

/// A field as a column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldColumn {
    /// Its name.
    pub name: String,
    /// What its values are.
    pub kind: super::FieldType,
    /// Whether some of its numbers are no integers.
    pub has_fractions: bool,
}

/// The fields that an export has only if some row of the dataset needs them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OptionalFields {
    /// The number that marks rows of one task: some task has several instances.
    pub groups: bool,
    /// The system message: some task has one.
    pub systems: bool,
    /// Earlier turns: some example is a conversation of several.
    pub turns: bool,
    /// Fields that people added, and that some task has a value of.
    pub fields: Vec<FieldColumn>,
}
