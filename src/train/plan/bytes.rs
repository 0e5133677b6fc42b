//! Bytes of a fine-tune by kind.

use serde::Serialize;

/// Bytes by kind, at one moment of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Bytes {
    /// Weights that the model computes with.
    pub weights: u64,
    /// Master weights, or the adapter.
    pub masters: u64,
    /// Optimizer state.
    pub states: u64,
    /// Gradients.
    pub gradients: u64,
    /// What the forward pass keeps for the backward pass, and temporaries of a block.
    pub activations: u64,
    /// Logits and the buffers of the loss.
    pub logits: u64,
    /// libtorch itself, and gaps in the heap.
    pub workspace: u64,
}

impl Bytes {
    /// Returns the sum.
    pub fn total(&self) -> u64 {
        self.weights
            + self.masters
            + self.states
            + self.gradients
            + self.activations
            + self.logits
            + self.workspace
    }

    /// Returns what the number formats decide: weights, masters, optimizer state, and all gradients
    /// that exist at once.
    pub fn formats(&self, gradients: u64) -> u64 {
        self.weights + self.masters + self.states + gradients
    }
}

/// Bytes of libtorch and its libraries before any tensor, and of gaps in the heap: on a GPU, on a
/// CPU. On a CPU it is 180 MB for libtorch, 120 MB for compiled matrix products, and the rest. On a
/// GPU it is [`CUBLAS`], 200 to 300 MB for kernels that the driver loads when they are first
/// launched, and gaps between the allocator's blocks; the context itself exists before free memory
/// is read. The GPU's figure is an estimate that was never measured.
pub const WORKSPACE: [u64; 2] = [1_500_000_000, 450_000_000];

/// The part of `WORKSPACE` that libtorch's allocator counts on a GPU: the workspace of cuBLAS, 32
/// MiB for each thread that computes (the caller, and autograd's of the device), which cuBLASLt
/// shares. libtorch takes 32 MiB on Hopper and Blackwell, and 8.1 MiB before;
/// `CUBLAS_WORKSPACE_CONFIG=:4096:8`, eight buffers of 4096 KiB, is 32 MiB everywhere
/// (`parseChosenWorkspaceSize` in ATen's `CublasHandlePool.cpp`).
pub const CUBLAS: u64 = 2 * (32 << 20);

/// The part of `WORKSPACE` that oneDNN allocates for its products on a CPU, and the allocator
/// counts. With 10 MB here a plan was 7 MB above what `ewe selftest` measured on a processor
/// without AMX (2026-11-28); with AMX it has not been compared since.
pub const SCRATCH: u64 = 5_000_000;
