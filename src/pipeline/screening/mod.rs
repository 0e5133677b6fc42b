//! The filter applied: to the rows of a [`file`](mod@file), or again to a [`dataset`].
//!
//! - [`config`]: how files are filtered; [`against`]: evaluation files.
//! - `rows`: rows of files in batches; `output`: what is written.
//! - `partitioned`: rows that do not fit into memory, with `spill` and `work`, their files in
//!   between.

pub mod against;
pub mod config;
pub mod dataset;
pub mod file;
mod output;
mod partitioned;
mod rows;
mod spill;
pub mod validate;
mod work;
