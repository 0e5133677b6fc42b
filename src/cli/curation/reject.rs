//! `ewe reject`: as `ewe accept`, with the other review.

pub use super::accept::Args;
