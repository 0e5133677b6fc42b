//! Files of tasks, in and out: the formats of the field, between a file and [`crate::task`].
//!
//! - [`format`](mod@format): their names, and how a file's format is told by looking.
//! - [`rows`]: JSON lines or one JSON array, an object at a time, each with its place in the file.
//! - [`read`]: objects to tasks, and whole files into the store.
//! - [`write`](mod@write): the dataset to a file, byte-identical when repeated.
//! - [`seeds`]: the seed tasks that come with `ewe`, and a dataset made from seeds.

pub mod format;
pub mod read;
pub mod rows;
pub mod seeds;
pub mod write;

pub use format::Format;
