//! The front-door tests: one binary, a module for each room.

mod curate;
mod filter;
mod generate;
mod interchange;
mod mock;
mod page;
mod seeds;
mod shell;
mod store;
mod support;
