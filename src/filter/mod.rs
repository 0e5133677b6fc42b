//! Decides which tasks stay in a dataset. Every part of the filter returns a
//! [`Verdict`](crate::task::Verdict).
//!
//! - [`words`]: splits texts into words; [`vocabulary`]: gives words numbers.
//! - [`rouge`]: thresholds and scores as exact fractions; [`lcs`]: the longest common subsequence.
//! - [`index`]: finds near-duplicates among the texts admitted so far.
//! - [`rules`]: checks of a single instruction or instance.
//! - [`decontaminate`]: finds evaluation data, which models must not be trained on.
//! - [`elimination`]: compares a rewritten task with its parent.
//! - [`turns`]: checks a message that continues a conversation.
//! - [`grounding`]: compares an answer with the passage that it was made from.
//! - [`shared`]: removes text that all rows of a file share.
//! - [`compared`]: the text by which tasks are compared.
//! - [`kept`]: the tasks kept so far; [`partition`]: more of them than memory holds, part by part.
//! - [`screen`]: applies all of it to task after task.

pub mod compared;
pub mod decontaminate;
pub mod elimination;
pub mod grounding;
pub mod index;
pub mod kept;
pub mod lcs;
pub mod partition;
pub mod rouge;
pub mod rules;
pub mod screen;
pub mod shared;
pub mod turns;
pub mod vocabulary;
pub mod words;

pub use compared::Compared;
pub use index::{Index, SimilarText};
pub use rouge::{RougeL, Threshold};
