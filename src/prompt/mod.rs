//! Every text that a model is shown, but for what users write.
//!
//! - [`few_shot`]: the prompts of generation, built from the seeds.

pub mod few_shot;
