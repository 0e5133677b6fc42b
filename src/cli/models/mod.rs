//! Commands that train models and ask them.

pub mod chat;
pub mod compare;
pub mod complete;
pub mod eval;
pub mod gain;
pub mod influence;
pub mod merge;
pub mod plan;
pub mod push;
pub mod score;
pub mod selftest;
pub mod serve;
pub mod train;
