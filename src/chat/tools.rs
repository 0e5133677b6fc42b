//! Tools that a model may call:
//!
//! - [`asked`]: which tools a request offers, and whether one must be called.
//! - [`format`](mod@format): how models write calls.
//! - [`parser`]: from the text of an answer to text and calls.
//! - [`stream`]: the same of the parts of an answer as they come.

pub mod asked;
pub mod format;
pub mod parser;
pub mod stream;
