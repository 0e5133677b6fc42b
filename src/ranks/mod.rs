//! Processes (ranks) that compute one command together:
//!
//! - [`place`]: which of them this process is, by its environment.
//! - [`launch`]: starts them on this machine, watches them, and ends all when one fails.
//! - [`report`]: how a rank tells that process why it failed.
//!
//! How they compute together is in the tensor half (`src/distributed`).

pub mod launch;
pub mod place;
pub mod report;
