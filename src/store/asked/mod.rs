//! What models were asked, and what became of their answers.

pub(super) mod answers;
pub mod batch;
pub(super) mod bulk_guard;
pub mod evolution;
pub mod identity;
pub mod imports;
pub mod request;
pub mod round;
pub mod run;
