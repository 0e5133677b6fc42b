//! Token generation. In reading order:
//!
//! - [`batch`]: the running batch: requests join and leave at every step. Token ids in, token ids out.
//! - [`sampler`]: from scores to the next token, without sorting the vocabulary.
//! - [`logprobs`]: how likely the model found a token.
//! - [`prefix`]: keys and values of prompts seen before, so that a shared beginning is computed once.
//! - [`text`]: from tokens to text: whole characters, stop strings.
//! - [`handle`]: the model on a thread of its own, behind `ewe::backend::Backend`; [`worker`] is that thread,
//!   [`answer`] what comes back from it.

pub mod answer;
pub mod batch;
pub mod handle;
pub mod logprobs;
pub mod prefix;
pub mod sampler;
#[cfg(test)]
mod tests;
pub mod text;
mod worker;
