//! Asking a model about a file of rows: [`complete`] continues prompts, [`score`] weighs completions. [`rows`] reads
//! and writes the files, [`progress`] says how far it is.

pub mod complete;
pub mod progress;
pub mod rows;
pub mod score;
