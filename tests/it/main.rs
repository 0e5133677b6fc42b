//! The front-door tests: one binary, a module for each room.

mod generate;
mod mock;
#[cfg(feature = "torch")]
mod models;
#[cfg(feature = "torch")]
mod serve;
mod shell;
mod store;
mod support;
