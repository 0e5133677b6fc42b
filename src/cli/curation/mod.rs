//! Commands that show tasks and review them.

pub mod accept;
pub mod candidates;
pub mod curate;
pub mod edit;
mod for_programs;
pub mod list;
pub mod log;
pub mod reject;
pub mod report;
pub mod rescue;
pub mod review;
pub mod search;
pub mod show;
pub mod stats;
pub mod undo;
