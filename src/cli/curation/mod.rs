//! Commands that show tasks and review them.

pub mod accept;
mod after;
pub mod agreement;
pub mod assign;
pub mod candidates;
pub mod comment;
pub mod curate;
mod decision;
pub mod edit;
pub mod field;
mod for_programs;
pub mod label;
pub mod list;
pub mod log;
mod opinion;
pub mod reject;
pub mod report;
pub mod rescue;
pub mod review;
pub mod search;
pub mod show;
pub mod stats;
pub mod undo;
pub mod unsure;
