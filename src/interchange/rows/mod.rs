//! Files split into rows. Every reader here is an iterator of [`row::Row`], each with its place.
//!
//! - [`json`]: JSON lines and arrays; [`csv`]: CSV and TSV; [`columnar`]: Parquet and Arrow.
//! - [`row`], [`location`]: the row and its place; [`object`]: a row as an object of fields.

pub mod columnar;
pub mod csv;
pub mod json;
pub mod location;
pub mod object;
pub mod row;
