//! Every text that a model is shown, but for what users write.
//!
//! - [`few_shot`]: the prompts of generation, built from the seeds.
//! - [`task_list`]: the same for lists of complete tasks.
//! - [`judge`]: what scores an instance.
//! - [`evolution`]: a task made of another.
//! - [`continuation`]: what makes a chat model continue a text.
//! - [`template`]: training templates, cut into the part that is given and the part that is learnt.

pub mod continuation;
pub mod evolution;
pub mod few_shot;
pub mod judge;
pub mod task_list;
pub mod template;
