//! Text around the data: the templates that turn a row of the dataset into what a model is trained on.
//!
//! - [`template`]: training templates, cut into the part that is given and the part that is learnt.

pub mod template;
