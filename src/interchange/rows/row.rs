//! One row of a file, not parsed yet, and why there may be none.

use std::{io, sync::Arc};

use arrow_array::RecordBatch;
use serde::Serialize;

use super::location::Location;

/// The longest row that is held in memory, in bytes. A longer one is an error of the row.
pub const LONGEST: usize = 64 << 20;

/// How many bytes are skipped at most in search of the end of a row. A row without an end, as on a
/// device, ends the file.
pub const ENDLESS: u64 = 1 << 30;

/// How many bytes of a row that is too long are shown.
const SHOWN: usize = 1 << 12;

/// The text of one row.
#[derive(Debug, Clone)]
pub struct Row {
    /// JSON that is not parsed yet: an object, or a conversation that is an array.
    pub text: Vec<u8>,
    /// Where it begins.
    pub place: Location,
    /// Its number in the file, from 1; set by [`RowReader`](crate::interchange::read::RowReader).
    pub number: u64,
    /// For a row of a columnar file, the columns that the text was made from.
    pub(in crate::interchange) cells: Option<BatchRow>,
}

/// One row of a batch of columns. The batch lives as long as any of its rows.
#[derive(Debug, Clone)]
pub struct BatchRow {
    /// The batch.
    pub batch: Arc<RecordBatch>,
    /// The index of the row in the batch.
    pub index: usize,
}

/// What the file has where a row cannot be read, so that somebody can repair it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Excerpt {
    /// The text as it is, or the beginning of a long text.
    Text(String),
    /// The cells of a row of CSV.
    Cells(Vec<String>),
}

/// Why a file cannot be split into rows.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A columnar file or a CSV file is damaged, or cut off.
    #[error("{0}")]
    Damaged(String),
    /// The text at a place is no row. There may be rows after it.
    #[error("{what}")]
    Malformed {
        /// Where.
        place: Location,
        /// What is wrong there.
        what: String,
        /// The text there.
        found: Excerpt,
    },
}

impl Row {
    /// Makes a row of a text file.
    pub fn new(text: Vec<u8>, place: Location) -> Row {
        Row {
            text,
            place,
            number: 0,
            cells: None,
        }
    }
}

impl RowError {
    /// The row at `place` is longer than [`LONGEST`].
    pub fn too_long(place: Location, beginning: &[u8]) -> RowError {
        RowError::Malformed {
            place,
            what: format!("the row is longer than {} MiB", LONGEST >> 20),
            found: Excerpt::beginning(beginning),
        }
    }

    /// The row that begins at `line` has no end within [`ENDLESS`] bytes.
    pub fn endless(line: usize) -> RowError {
        let error = format!("the row at line {line} has no end within {} MiB", ENDLESS >> 20);
        RowError::Io(io::Error::new(io::ErrorKind::FileTooLarge, error))
    }
}

impl Excerpt {
    /// Shows all of these bytes.
    pub(in crate::interchange) fn text(bytes: &[u8]) -> Excerpt {
        Excerpt::Text(String::from_utf8_lossy(bytes).into_owned())
    }

    /// Shows the first of these bytes.
    pub(in crate::interchange) fn beginning(bytes: &[u8]) -> Excerpt {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]);
        Excerpt::Text(format!("{shown}…"))
    }
}
