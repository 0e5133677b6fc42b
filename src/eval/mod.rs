//! A model on a file of rows: [`complete`] continues prompts, [`score`] computes the likelihood of
//! completions, [`rows`] reads and writes the files. A model on the rows of a dataset:
//! [`difficulty`] of their answers, [`influence`] on held-out tasks. [`likelihood`] is that of
//! references of suites.

pub mod complete;
pub mod difficulty;
pub mod influence;
pub mod likelihood;
mod nll;
pub mod rows;
pub mod score;
