//! The data half of `ewe`: everything that needs no tensor. In reading order:
//!
//! - [`task`]: the values that stages exchange.
//! - [`backend`]: what is asked of a language model, and the trait of those who answer.
//! - [`prompt`]: training templates.
//! - [`cli`]: the command line, for both binaries.

pub mod backend;
pub mod cli;
pub mod prompt;
