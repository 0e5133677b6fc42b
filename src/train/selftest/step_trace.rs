//! What one step asks libtorch for, by its operators.

use crate::shim::trace::{Counts, Trace};
use anyhow::Result;
use serde::Serialize;
use tch::Device;

/// Counts of one step. Kernels of ours are not among its operators, nor what a CUDA graph replays.
#[derive(Debug, Serialize)]
pub struct StepTrace {
    /// Calls of operators, with those that others call.
    pub operators: i64,
    /// Kernels launched for them.
    pub launches: i64,
    /// Bytes that these read and write.
    pub bytes: i64,
    /// Reads by the host, for which it waits.
    pub reads: i64,
    /// Copies from the host.
    pub uploads: i64,
    /// Operators of attention, which tell its backend, with their calls.
    pub attention: Vec<(String, i64)>,
    /// Operators whose names tell cuDNN; attention must not be among them.
    pub cudnn: Vec<String>,
}

impl StepTrace {
    /// Runs `step` on `device` and counts.
    pub fn of(device: Device, step: impl FnOnce() -> Result<()>) -> Result<StepTrace> {
        let trace = Trace::begin_on(device)?;
        step()?;
        Ok(StepTrace::from(trace.end()))
    }
}

impl From<Counts> for StepTrace {
    fn from(counts: Counts) -> StepTrace {
        let named = |part: &'static str| {
            let found = counts.by_name.iter().filter(move |(name, _)| name.contains(part));
            found.map(|(name, of)| (name.clone(), of.calls))
        };
        StepTrace {
            attention: named("attention").collect(),
            cudnn: named("cudnn").map(|(name, _)| name).collect(),
            operators: counts.operators,
            launches: counts.launches,
            bytes: counts.bytes,
            reads: counts.reads,
            uploads: counts.uploads,
        }
    }
}
