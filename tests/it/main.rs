//! The front-door tests: one binary, a module for each room.

mod store;
mod support;
