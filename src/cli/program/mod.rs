//! Commands about the program itself.

pub mod completions;
pub mod config;
pub mod demo;
pub mod doctor;
pub mod man;
