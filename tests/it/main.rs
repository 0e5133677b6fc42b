//! The front-door tests: one binary, a module for each room.

mod curate;
mod interchange;
mod page;
mod shell;
mod store;
mod support;
