//! Why a file cannot be read as rows.

use std::io;

use super::rows::{
    location::Location,
    row::{Excerpt, RowError},
};

/// Why a file, or one row of it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system reports an error.
    #[error("cannot read `{file}`: {error}")]
    Io {
        /// The file.
        file: String,
        /// The system's error.
        error: io::Error,
    },
    /// A Parquet, Arrow or CSV file is damaged, or cut off.
    #[error("cannot read `{file}` as {kind}: {what}")]
    Damaged {
        /// The file.
        file: String,
        /// The name of its file type.
        kind: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// One row cannot be read. There may be others.
    #[error("{}: {what}", place.in_file(file))]
    Row {
        /// The file.
        file: String,
        /// Where in the file.
        place: Location,
        /// What is wrong there.
        what: String,
        /// The text there, if it could not even be split into a row.
        found: Option<Excerpt>,
    },
    /// The file is empty.
    #[error("`{file}` has no tasks in it")]
    NoRows {
        /// The file.
        file: String,
    },
    /// The file is of a type that has no rows.
    #[error("`{file}` is {what}\nhint: {hint}")]
    NoRowsInIt {
        /// The file.
        file: String,
        /// The type, with an article.
        what: String,
        /// What to do.
        hint: String,
    },
    /// No format has these columns.
    #[error("cannot tell the format of `{file}`: its first row has the fields {fields}\nhint: {hint}")]
    UnknownFormat {
        /// The file.
        file: String,
        /// The fields of the first row that is an object, quoted.
        fields: String,
        /// What to do.
        hint: String,
    },
    /// `--map` names a column that no row has.
    #[error("no row of `{file}` has the column {missing}\nhint: its first row has the fields {fields}")]
    NoColumn {
        /// The file.
        file: String,
        /// The missing columns, quoted.
        missing: String,
        /// The fields of the first row that is an object, quoted.
        fields: String,
    },
}

impl ReadError {
    /// Names the file in an error of its rows. `kind` is the file type, for a damaged file.
    pub(super) fn of_file(file: &str, kind: &'static str, error: RowError) -> ReadError {
        let file = file.to_owned();
        match error {
            RowError::Io(error) => ReadError::Io { file, error },
            RowError::Damaged(what) => ReadError::Damaged { file, kind, what },
            RowError::Malformed { place, what, found } => ReadError::Row {
                file,
                place,
                what,
                found: Some(found),
            },
        }
    }

    /// Whether only one row cannot be read, and there may be others.
    pub fn is_of_a_row(&self) -> bool {
        matches!(self, ReadError::Row { .. })
    }

    /// Returns where the row is, for an error of one row.
    pub fn place(&self) -> Option<Location> {
        match self {
            ReadError::Row { place, .. } => Some(*place),
            _ => None,
        }
    }
}
