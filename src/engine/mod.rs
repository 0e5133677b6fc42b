//! Token generation. In reading order:
//!
//! - [`open`]: a model, loaded and started as a command asks, within the [`budget`] of its GPU.
//! - [`plan`]: `ewe plan --serve`: what would fit.
//! - [`batch`]: the running batch: requests join and leave at every step. Token ids in and out.
//! - [`sampler`]: from logits to the next token, without sorting the vocabulary.
//! - [`grammar`]: answers held to a JSON Schema or another grammar.
//! - [`logprobs`]: log-probabilities of tokens.
//! - [`prefix`]: the prefix cache, so that a shared prefix is computed once.
//! - [`text`]: from tokens to text: whole characters, stop strings.
//! - [`questions`]: a model that answers questions, laid out by a template.
//! - [`handle`]: the model behind `ewe::backend::Backend`; [`engines`] are its engines, one for
//!   each device, behind the queue of [`dispatch`]; [`worker`] is the thread of one, [`answer`] and
//!   [`event`] what comes back from it, [`state`] what both sides share.

pub mod answer;
pub mod batch;
pub mod budget;
mod dispatch;
pub mod engines;
pub mod event;
pub mod grammar;
pub mod handle;
pub mod logprobs;
pub mod open;
pub mod plan;
pub mod prefix;
pub mod questions;
pub mod sampler;
mod state;
#[cfg(test)]
pub(crate) mod tests;
pub mod text;
mod worker;
