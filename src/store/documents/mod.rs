//! Documents that tasks are made from.
//!
//! - [`document`]: files, and what changed since they were read.
//! - [`passage`]: their passages.
//! - [`grounding`]: which rounds and tasks are about which passages.

pub mod document;
pub mod grounding;
pub mod passage;
