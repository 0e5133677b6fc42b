//! The filter applied: to the rows of a [`file`](mod@file), or again to a [`dataset`].

pub mod dataset;
pub mod file;
