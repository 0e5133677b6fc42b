//! The front-door tests: one binary, a module for each room.

#[cfg(feature = "torch")]
mod models;
mod store;
mod support;
#[cfg(feature = "torch")]
mod train;
