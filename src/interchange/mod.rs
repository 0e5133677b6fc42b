//! Files of rows, in and out: the formats of the field, between a file and [`crate::task`]. Nothing
//! here knows the store; `pipeline` joins the two.
//!
//! - [`format`](mod@format): the formats and the columns that tell them apart; [`mapping`]:
//!   `--map`; [`need`], [`reading`]: which rows a command wants, and the options it reads a file
//!   with.
//! - `json`, [`extra`]: an object whose fields are parsed when they are taken, and the fields left.
//! - `conversation`: lists of messages as question, answer and later turns; [`turns`]: these as
//!   they are stored.
//! - `bytes`: the type of a file by its first bytes; decompression, encodings.
//! - `rows`: a file split into rows: JSON, CSV, Parquet and Arrow.
//! - [`parts`]: the files of a folder.
//! - [`read`]: a file opened, decompressed and split into rows; [`error`]: why it cannot be read.
//! - [`parse`]: rows to tasks, as a [`ParsedRow`] each.
//! - [`left_out`]: rows that cannot be read; [`notes`]: fields that nothing reads, counted.
//! - [`write`](mod@write): rows to a file, with the same bytes each time.
//!
//! `bytes` and `rows` import `json`, `conversation` and `format`; `read` and `parse` import those;
//! `write` comes last.

mod bytes;
mod conversation;
pub mod error;
pub mod extra;
pub mod format;
mod json;
pub mod left_out;
pub mod mapping;
pub mod need;
pub mod notes;
pub mod parse;
pub mod parsed_row;
pub mod parts;
pub mod read;
pub mod reading;
mod rows;
pub mod turns;
pub mod write;

pub use error::ReadError;
pub use format::Format;
pub use need::Need;
pub use parsed_row::{ParsedRow, SourceRow};
pub use reading::Reading;
pub use rows::csv::{DELIMITERS, TableLayout};
pub use rows::location::Location;
pub use rows::row::{Excerpt, Row};
