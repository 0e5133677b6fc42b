//! Figures about a dataset, and pictures of them. Every figure is a count that one can repeat in SQL.
//!
//! - [`figures`]: the counts.
//! - [`roots`]: what instructions ask for, as a verb and a noun.
//! - [`chart`]: pictures of them.
//! - [`card`], [`page`]: the dataset card, and one HTML file with all of it.

pub mod card;
pub mod chart;
pub mod figures;
pub mod page;
pub mod roots;

pub use figures::*;
