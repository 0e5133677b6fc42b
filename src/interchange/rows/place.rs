//! Where in a file something stands.

use std::fmt;

/// Where something is in a file; everything counts from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a file of text.
    Text {
        /// The line.
        line: usize,
        /// The column, in bytes.
        column: usize,
    },
    /// In a file of columns, which has no lines.
    Row(u64),
}

impl Place {
    /// The place in the file of something that a parser found at `line` and `column` of a row beginning here; both
    /// count from 1.
    pub fn of_inner(self, inner_line: usize, inner_column: usize) -> Place {
        match self {
            Place::Text { line, column } if inner_line <= 1 => Place::Text {
                line,
                column: column + inner_column.saturating_sub(1),
            },
            Place::Text { line, .. } => Place::Text {
                line: line + inner_line - 1,
                column: inner_column,
            },
            Place::Row(_) => self,
        }
    }

    /// The place, with the name of the file: `rows.jsonl:3:1`, or `rows.parquet: row 3`.
    pub fn in_file(self, file: &str) -> impl fmt::Display {
        fmt::from_fn(move |f| match self {
            Place::Text { line, column } => write!(f, "{file}:{line}:{column}"),
            Place::Row(row) => write!(f, "{file}: row {row}"),
        })
    }
}
