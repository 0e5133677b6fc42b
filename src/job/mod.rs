//! What the commands of the tensor half do, as plain values. `cli` builds them from its options,
//! and the tensor half reads them, so it knows nothing of clap.
//!
//! - [`model`]: which model, where it runs, and how much memory requests may take.
//! - [`rows`]: a file of rows, and how a row becomes a prompt.
//! - [`complete`], [`score`], [`chat`], [`serve`], [`train`], [`plan`], [`influence`],
//!   [`merge`]: one command each.

pub mod chat;
pub mod compare;
pub mod complete;
pub mod eval;
pub mod influence;
pub mod merge;
pub mod model;
pub mod plan;
pub mod rows;
pub mod score;
pub mod serve;
pub mod train;
