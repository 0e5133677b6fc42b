//! The memory estimate of a fine-tune.

use super::block::BlockMemory;
use super::bytes::{Bytes, CUBLAS, SCRATCH, WORKSPACE};
use super::config::PlanConfig;
use super::phases::Phases;
use super::size::Size;
use super::tensors::Tensors;
use serde::Serialize;

/// The memory that a fine-tune needs, at the moment of a step that needs most.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemoryEstimate {
    /// The fine-tune.
    #[serde(rename = "choice")]
    pub config: PlanConfig,
    /// Count of trained numbers.
    pub trained: u64,
    /// Bytes of all gradients that exist at once.
    pub all_gradients: u64,
    /// Bytes by kind.
    pub bytes: Bytes,
    /// Their sum.
    pub total: u64,
    /// Bytes of host memory beside a GPU.
    pub host: u64,
    /// Floating-point operations per token.
    pub flops_per_token: f64,
}

impl MemoryEstimate {
    /// Estimates the memory of `config` for a model of this size, whose blocks need what `block`
    /// says.
    pub fn of(size: &Size, block: &BlockMemory, config: &PlanConfig) -> MemoryEstimate {
        let tensors = Tensors { size, config };
        let (resident, host) = tensors.resident();
        let phases = Phases::of(tensors, block, resident);
        let bytes = phases.largest();
        let passes =
            if config.is_full() { 3.0 } else { 2.0 } + if config.formats.recompute { 1.0 } else { 0.0 };
        MemoryEstimate {
            config: config.clone(),
            trained: tensors.trained(),
            all_gradients: phases.all_gradients(),
            bytes,
            total: bytes.total(),
            host,
            flops_per_token: passes * 2.0 * (size.active + size.vocab * size.hidden) as f64,
        }
    }

    /// Returns the bytes that the allocator should count at the peak of a step.
    pub fn allocated(&self) -> u64 {
        match self.config.gpu {
            // Temporaries of an update lie beside the workspace.
            true => self.total - WORKSPACE[0] + CUBLAS,
            false => self.total - self.bytes.workspace + SCRATCH,
        }
    }
}
