//! Decides what to ask a model for, and parses its responses. Nothing here talks to a model, the
//! filter or the store; [`crate::pipeline`] connects them.
//!
//! - [`recipe`]: the recipes with the published constants.
//! - [`round`]: the random numbers of a round, as a function of seed and round number.
//! - [`examples`]: samples the tasks that a prompt shows.
//! - [`evolution`]: decides which rounds rewrite a task, which task, and by which operator.
//! - [`documents`]: the passage of each round, and responses about it.
//! - [`topics`]: the topic of each round.
//! - [`parse`]: parses responses of Self-Instruct's stages into candidates, without losing text.
//! - [`alpaca`]: does the same with lists of complete tasks.
//! - [`judgment`]: parses a judge's scores.

pub mod alpaca;
mod bounds;
pub mod documents;
pub mod evolution;
pub mod examples;
pub mod judgment;
pub mod parse;
pub mod recipe;
pub mod round;
pub mod topics;
