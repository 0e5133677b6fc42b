//! A place in a file.

use std::fmt;

/// A place in a file. All numbers count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// In a text file.
    Text {
        /// The line.
        line: usize,
        /// The column, in bytes.
        column: usize,
    },
    /// In a columnar file, which has no lines.
    Row(u64),
}

impl Location {
    /// Translates a place within a row that begins here to a place in the file.
    pub fn of_inner(self, inner_line: usize, inner_column: usize) -> Location {
        match self {
            Location::Text { line, column } if inner_line <= 1 => Location::Text {
                line,
                column: column + inner_column.saturating_sub(1),
            },
            Location::Text { line, .. } => Location::Text {
                line: line + inner_line - 1,
                column: inner_column,
            },
            Location::Row(_) => self,
        }
    }

    /// Returns the place behind the name of the file: `rows.jsonl:3:1`, or `rows.parquet: row 3`.
    pub fn in_file(self, file: &str) -> impl fmt::Display {
        fmt::from_fn(move |f| match self {
            Location::Text { line, column } => write!(f, "{file}:{line}:{column}"),
            Location::Row(row) => write!(f, "{file}: row {row}"),
        })
    }
}
