//! Documents: files into passages, and passages into tasks.
//!
//! - [`add`]: `ewe add-documents`.
//! - `rounds`: rounds of `ewe generate` that ask about passages.

pub mod add;
mod rounds;

pub(super) use rounds::{DocumentMethod, load_passages};
