//! The front-door tests: one binary, a module for each room.

mod generate;
mod mock;
#[cfg(feature = "torch")]
mod models;
mod shell;
mod store;
mod support;
