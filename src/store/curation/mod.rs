//! Reviews, edits and judgments of tasks, and their history.

pub(super) mod audit_guard;
pub mod difficulty;
pub mod edit;
pub mod held_out;
pub mod influence;
pub mod judgment;
pub mod log;
pub mod rescue;
pub mod revision;
pub mod turns;
pub mod undo;
pub mod validation;
