//! Decides what to ask a model for, and parses its responses. Nothing here talks to a model, the
//! filter or the store; [`crate::pipeline`] connects them.
//!
//! - [`recipe`]: the recipes with the published constants.
//! - [`round`]: the random numbers of a round, as a function of seed and round number.
//! - [`examples`]: samples the tasks that a prompt shows.
//! - [`evolution`]: decides which rounds rewrite a task, which task, and by which operator.
//! - [`turns`]: decides which rounds continue a task, and parses the messages of a conversation.
//! - [`documents`]: the passage of each round, and responses about it.
//! - [`topics`]: the topic of each round.
//! - [`parse`]: parses responses of Self-Instruct's stages into candidates, without losing text.
//! - [`alpaca`]: does the same with lists of complete tasks.
//! - [`own`]: recipes that users write.
//! - [`judgment`]: parses a judge's scores; [`rubric`]: by a rubric of the user's.

pub mod alpaca;
mod bounds;
pub mod documents;
pub mod evolution;
pub mod examples;
pub mod judgment;
pub mod own;
pub mod parse;
pub mod recipe;
pub mod round;
pub mod rubric;
pub mod topics;
pub mod turns;
