//! Options of commands that run a model on this machine.

use std::path::Path;

use super::size;
use crate::job::model::{EngineLimits, ModelSpec};
use crate::job::train::GpuNumerics;

/// Where a local model runs, and in which type.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Local models")]
pub struct DeviceArgs {
    /// Where a local model runs: auto (a GPU if there is one), cpu, or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: String,

    /// The type that a local model computes in: auto (bf16 for 16-bit checkpoints, else fp32; on a
    /// GPU without bf16, fp16), bf16, fp16 or fp32
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    pub dtype: String,
}

impl DeviceArgs {
    /// Returns the model at `path`, with an adapter or without, on this device.
    pub fn spec(&self, path: &Path, adapter: Option<&Path>) -> ModelSpec {
        ModelSpec {
            path: path.to_owned(),
            adapter: adapter.map(Path::to_owned),
            device: self.device.clone(),
            dtype: self.dtype.clone(),
        }
    }
}

/// Where a model is trained, and how a GPU computes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Device")]
pub struct TrainingDeviceArgs {
    /// Device: auto (a GPU if there is one), cpu, or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: String,

    /// Let a GPU add in any order, which may be a few percent faster: repeating or resuming the run
    /// then gives slightly different weights. No effect on the CPU
    #[arg(long)]
    pub nondeterministic: bool,

    /// With --precision fp32 on a GPU: multiply in TF32, which has 10 bits in place of 23 and is
    /// several times as fast
    #[arg(long)]
    pub tf32: bool,
}

impl TrainingDeviceArgs {
    /// Returns how a GPU computes.
    pub fn numerics(&self) -> GpuNumerics {
        GpuNumerics {
            deterministic: !self.nondeterministic,
            tf32: self.tf32,
        }
    }
}

/// How much a local model may do at once.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Local models")]
pub struct EngineArgs {
    /// The most requests that a local model answers at once [default: 32; generate, judge, eval and
    /// compare: 24; on a GPU 128 to 256, as its memory allows]
    #[arg(long, alias = "max-batch", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub batch: Option<u16>,

    /// Memory for the KV cache, the keys and values of requests that a local model works on: 4GB,
    /// 500MB or 16GiB [default: 4GiB; on a GPU most of what is free once the model is loaded]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub kv_memory: Option<u64>,
}

impl EngineArgs {
    /// Returns the limits; `cpu_batch` is the command's default of --batch on the CPU.
    pub fn limits(&self, cpu_batch: u16) -> EngineLimits {
        EngineLimits {
            max_batch: self.batch.map(usize::from),
            cpu_batch: usize::from(cpu_batch),
            kv_bytes: self.kv_memory.map(|bytes| bytes as usize),
        }
    }
}
