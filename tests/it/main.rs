//! The front-door tests: one binary, a module for each room.

mod curate;
mod generate;
mod interchange;
mod mock;
mod page;
mod shell;
mod store;
mod support;
