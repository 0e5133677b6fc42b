//! Turns rows into examples, and examples into the micro-batches of a step.

pub mod dataset;
pub mod deal;
pub mod micro_batch;
pub mod row_template;
pub mod shown;
pub mod source;
