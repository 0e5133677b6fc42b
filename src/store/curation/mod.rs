//! What people and judges think of tasks, and the history of that.

pub(super) mod audit_guard;
pub mod edit;
pub mod judgment;
pub mod log;
pub mod revision;
pub mod undo;
