//! What to ask a model for, and what its answers say. Nothing here talks to a model, the filter or the store; the
//! arrows between them are drawn in [`crate::pipeline`].
//!
//! - [`recipe`]: the published constants.
//! - [`round`]: which tasks a round is prompted with, as a function of seed and round number.
//! - [`parse`]: answers into candidates, losing nothing.

pub mod parse;
pub mod recipe;
pub mod round;
