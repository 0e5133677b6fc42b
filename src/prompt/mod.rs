//! All texts that ewe puts into prompts.
//!
//! - [`self_instruct`]: the prompts of Self-Instruct, built from the seeds.
//! - [`alpaca`]: the prompts of Alpaca, lists of complete tasks.
//! - [`judge`]: the prompt that scores an instance; [`compare`]: the one that compares two answers;
//!   [`rating`]: the one that grades an answer.
//! - [`evolution`]: the prompts that rewrite a task.
//! - [`turns`]: the prompts that continue a conversation.
//! - [`documents`]: the prompts that make tasks from documents.
//! - [`continuation`]: the system message that makes a chat model continue a text.
//! - [`template`]: templates for training, with the part given and the part learned.

pub mod alpaca;
pub mod compare;
pub mod continuation;
pub mod documents;
pub mod evolution;
pub mod judge;
pub mod rating;
pub mod rubric;
pub mod self_instruct;
pub mod template;
pub mod turns;
