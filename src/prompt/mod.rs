//! Every text that a model is shown, but for what users write.
//!
//! - [`few_shot`]: the prompts of generation, built from the seeds.
//! - [`template`]: training templates, cut into the part that is given and the part that is learnt.

pub mod few_shot;
pub mod template;
