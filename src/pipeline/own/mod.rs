//! Recipes that users write.
//!
//! - `rounds`: rounds of `ewe generate` that follow one.
//! - [`check`]: what one would ask, and what it reads of sample answers.

pub mod check;
mod rounds;

pub(super) use rounds::{OwnMethod, refuse_changed};
