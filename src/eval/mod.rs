//! Asking a model about a file of rows: [`complete`] continues prompts, [`score`] weighs completions. [`rows`] reads and
//! writes the files.

pub mod complete;
pub mod rows;
pub mod score;
