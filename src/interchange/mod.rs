//! Files of tasks, in and out: the formats of the field, between a file and [`crate::task`].
//!
//! - [`format`](mod@format): their names, and how a file's format is told by looking.
//! - [`rows`]: JSON lines and arrays, an object at a time, each with its place in the file.
//! - [`delimited`], [`columns`]: the rows of CSV, of Parquet and Arrow, as such objects.
//! - [`read`]: a file of any of these, opened: told by its first bytes, unpacked, split into rows.
//! - [`parse`]: objects to tasks, under the names that columns have in the field or [`mapping`] gives them; what a task has
//!   no place for is [`extra`].
//! - [`left_out`]: rows that cannot be read; [`notes`]: what rows say that no part of ewe reads.
//! - [`import`](mod@import): whole files into the store.
//! - [`write`](mod@write): the dataset to a file, byte-identical when repeated.
//! - [`seeds`]: the seed tasks that come with `ewe`, and a dataset made from seeds.

mod cells;
pub mod columns;
mod conversation;
mod decode;
pub mod delimited;
pub mod extra;
mod fields;
pub mod format;
mod guard;
pub mod import;
pub mod kept;
pub mod left_out;
pub mod mapping;
mod names;
pub mod notes;
mod object;
mod open;
pub mod packed;
pub mod parse;
mod parts;
mod prose;
pub mod read;
mod record;
pub mod rows;
pub mod schema;
pub mod seeds;
mod sniff;
pub mod table;
mod unknown;
pub mod write;

pub use format::Format;
