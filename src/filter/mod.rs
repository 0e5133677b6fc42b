//! Decides which candidates stay: rules over one task, and near-duplicates by exact ROUGE-L.
//!
//! - [`words`]: the tokeniser; [`vocabulary`]: words as numbers.
//! - [`rouge`]: thresholds and scores as exact fractions; [`lcs`]: the longest common subsequence.
//! - [`index`]: the texts admitted so far, searched in parallel.
//! - [`rules`]: what a single instruction or instance must satisfy.
//! - [`decontaminate`]: what must not be in a dataset, since models are measured by it.
//! - [`elimination`]: what speaks against a task that was made of another.
//! - [`shared`]: what rows share and do not say.
//! - [`screen`]: all of it, task after task; [`file`](mod@file): over a file of tasks.

pub mod decontaminate;
pub mod elimination;
pub mod file;
pub mod index;
pub mod lcs;
pub mod rouge;
pub mod rules;
pub mod screen;
pub mod shared;
pub mod vocabulary;
pub mod words;

pub use index::{Index, Neighbor};
pub use rouge::{Score, Threshold};
