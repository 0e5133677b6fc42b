//! Processes (ranks) that train one model together. In reading order:
//!
//! - [`group`]: the ranks of a run, and what they agree on and add up.
//! - [`collectives`]: what exchanges tensors, NCCL or Gloo.
//! - [`end`]: how one of them ends.
//! - [`pulse`]: signs of life, by which a rank that waits knows whom it waits for.
//!
//! `ewe::ranks` has what needs no tensors: how ranks are started, and which one this process is.

pub mod collectives;
pub mod end;
pub mod group;
pub mod pulse;
