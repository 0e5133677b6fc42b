//! Figures about a dataset, and charts of them. Every figure is a count that can be repeated in
//! SQL.
//!
//! - [`figures`]: the counts.
//! - [`roots`]: the root verb and object of an instruction.
//! - [`chart`]: the charts themselves.
//! - [`documents`]: documents and what their passages gave.
//! - [`agreement`]: judges, people, and each other.
//! - [`reviewers`]: people who review the same tasks.
//! - [`evaluation`]: training runs, evaluations, comparisons and influence, for the page.
//! - [`summary`]: the figures as text.
//! - [`card`] and [`page`]: the dataset card, and one HTML file with charts and card.

pub mod agreement;
pub mod card;
pub mod chart;
pub mod documents;
pub mod evaluation;
pub mod figures;
pub mod page;
pub mod reviewers;
pub mod roots;
pub mod summary;

pub use figures::*;
