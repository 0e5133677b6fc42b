//! The front-door tests: one binary, a module for each room.

// Whoever runs this looks at what it says.
#![allow(clippy::disallowed_macros, clippy::disallowed_methods)]

mod batch;
mod client;
mod curate;
mod defects;
mod docs;
mod evolve;
mod faulty;
mod filter;
mod formats;
mod generate;
mod hints;
mod history;
mod imports;
mod interchange;
mod judge;
mod keeping;
mod lists;
#[cfg(feature = "torch")]
mod memory;
mod mock;
#[cfg(feature = "torch")]
mod models;
mod options;
mod outputs;
mod page;
mod page_door;
mod parquet;
mod read_only;
mod recipes;
mod replies;
mod report;
mod requests;
mod review;
mod rules;
mod screen;
mod seeds;
#[cfg(feature = "torch")]
mod serve;
#[cfg(feature = "torch")]
mod serve_door;
#[cfg(feature = "torch")]
mod serve_fields;
#[cfg(feature = "torch")]
mod serve_limits;
#[cfg(feature = "torch")]
mod server;
mod shell;
mod source;
mod store;
#[cfg(feature = "torch")]
mod strangers;
mod streams;
mod support;
#[cfg(feature = "torch")]
mod templates;
#[cfg(feature = "torch")]
mod train;
#[cfg(feature = "torch")]
mod train_faults;
mod vain;
