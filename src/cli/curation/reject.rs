//! `ewe reject`: `ewe accept` with the other review.

pub use super::accept::Args;
