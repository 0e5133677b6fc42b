//! The front-door tests: one binary, a module for each room.

// Whoever runs this looks at what it says.
#![allow(clippy::disallowed_macros, clippy::disallowed_methods)]

mod backup;
mod bad_rows;
mod batch;
mod client;
mod columns;
mod conversations;
mod curate;
#[cfg(feature = "torch")]
mod decoded;
mod defects;
mod dialects;
mod docs;
mod evolve;
mod faulty_endpoint;
mod filter;
#[cfg(feature = "torch")]
mod foreign;
#[cfg(feature = "torch")]
mod foreign_models;
mod formats;
mod generate;
mod giving_up;
mod hints;
mod history;
mod imports;
mod interchange;
mod judge;
mod lists;
#[cfg(feature = "torch")]
mod memory;
mod mock;
#[cfg(feature = "torch")]
mod models;
mod named;
mod options;
mod outputs;
mod page;
mod page_access;
mod parquet;
mod plurals;
mod read_only;
mod reasoning;
mod recipes;
mod refusals;
mod replies;
mod report;
mod requests;
mod review;
mod rules;
mod screen;
mod search;
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
mod settings_files;
mod shell;
mod signals;
mod source;
mod standard_output;
mod store;
mod streams;
mod support;
mod system;
#[cfg(feature = "torch")]
mod system_model;
mod tables;
#[cfg(feature = "torch")]
mod templates;
#[cfg(feature = "torch")]
mod tensor_formats;
mod together;
#[cfg(feature = "torch")]
mod train;
#[cfg(feature = "torch")]
mod train_faults;
