//! The front-door tests: one binary, a module for each room.

mod generate;
mod mock;
mod seeds;
mod shell;
mod store;
mod support;
