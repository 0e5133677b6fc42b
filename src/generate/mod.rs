//! What to ask a model for, and what its answers say. Nothing here talks to a model, the filter or the store; the
//! arrows between them are drawn in [`crate::pipeline`].
//!
//! - [`recipe`]: the recipes with the published constants.
//! - [`round`]: the random numbers of a round, as a function of seed and round number.
//! - [`examples`]: which tasks a round is prompted with.
//! - [`evolution`]: which rounds rewrite a task, which task, and how.
//! - [`topics`]: what the tasks of a round shall have to do with.
//! - [`parse`]: answers of Self-Instruct's stages into candidates, losing nothing.
//! - [`alpaca`]: the same for lists of complete tasks.
//! - [`judgment`]: scores out of the answers of a judge.

pub mod alpaca;
pub mod evolution;
pub mod examples;
pub mod judgment;
pub mod parse;
pub mod recipe;
pub mod round;
pub mod topics;
