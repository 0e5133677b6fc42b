//! Options that several commands share, and what is typed into them.

pub mod batch;
pub mod budget;
pub mod endpoint;
pub mod endpoints;
pub mod formats;
pub(super) mod live;
pub mod local;
pub mod number;
pub mod order;
pub mod paths;
pub mod quality;
pub mod ranks;
pub mod reading;
pub mod recipe;
pub mod requests;
pub mod select;
pub mod size;
pub(super) mod together;
pub mod token;
pub mod validator;
#[cfg(test)]
pub mod values;
pub(super) mod words;
