//! Ways to look at tasks, and figures about them.

pub mod choices;
pub mod facts;
pub mod filter;
pub mod fts;
pub mod list;
pub mod neighbor;
pub mod provenance;
pub(super) mod query_plan;
pub(super) mod sql;
pub mod stats;
pub mod tally;
