//! Decides which candidates stay: rules over one task, and near-duplicates by exact ROUGE-L.
//!
//! - [`rouge`]: the tokeniser, the longest common subsequence, thresholds and scores as exact fractions.
//! - [`index`]: the texts admitted so far, searched in parallel.
//! - [`rules`]: what a single instruction or instance must satisfy.

pub mod index;
pub mod rouge;
pub mod rules;

pub use index::{Index, Neighbor};
pub use rouge::{Score, Threshold};
