//! Filters, lists, search and counts.

pub mod amount;
pub mod candidates;
pub mod choices;
mod condition;
pub mod evaluation;
pub mod expression;
pub mod facets;
pub mod facts;
pub mod figures;
pub mod filter;
pub mod fts;
pub mod list;
pub mod neighbor;
pub mod provenance;
pub(super) mod query_plan;
pub mod search;
pub(super) mod sql;
pub mod stats;
pub mod tally;
pub mod top;
