//! Tools that a model may call:
//!
//! - [`asked`]: which tools a request offers, and whether one must be called.
//! - [`call`]: a call; [`read`], [`python`] and [`gemma`] read them from text.
//! - [`format`](mod@format): how models write calls.
//! - [`parser`]: from the text of an answer to text and calls.
//! - [`stream`]: the same of the parts of an answer as they come.

pub mod asked;
mod call;
pub mod format;
mod gemma;
pub mod parser;
mod python;
mod read;
pub mod stream;
