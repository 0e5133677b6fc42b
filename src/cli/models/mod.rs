//! Commands that train models and ask them.

pub mod chat;
pub mod complete;
pub mod merge;
pub mod plan;
pub mod score;
pub mod selftest;
pub mod serve;
pub mod train;
