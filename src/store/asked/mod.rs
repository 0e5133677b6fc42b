//! Requests to models and their results; runs, rounds and imports.

pub(super) mod answers;
pub mod batch;
pub(super) mod bulk_guard;
pub mod comparison;
pub mod evaluation;
pub mod evolution;
pub mod identity;
pub mod imports;
pub mod request;
pub mod round;
pub mod run;
