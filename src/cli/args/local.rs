//! Options of commands that run a model on this machine.

use std::path::Path;

use super::size;
use crate::job::model::{EngineLimits, ModelSpec};
use crate::job::train::GpuNumerics;

/// Options that say where a local model runs.
pub trait Placed: clap::Args {
    /// Returns the model at `path`, with an adapter or without, there.
    fn spec(&self, path: &Path, adapter: Option<&Path>) -> ModelSpec;
}

/// Where a local model runs, on one device or on several, and in which type.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Local models")]
pub struct DeviceArgs {
    /// Where a local model runs: auto (a GPU if there is one), cpu, or cuda:N; on each of several
    /// as in cuda:0,cuda:1, which answer requests side by side
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = devices)]
    pub device: String,

    /// Run a local model on each of the first N GPUs: 2 is --device cuda:0,cuda:1
    #[arg(long, value_name = "N", conflicts_with = "device", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub gpus: Option<u16>,

    /// The type that a local model computes in: auto (bf16 for 16-bit checkpoints, else fp32; on a
    /// GPU without bf16, fp16), bf16, fp16 or fp32
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    pub dtype: String,
}

impl DeviceArgs {
    /// Returns the model at `path`, with an adapter or without, on these devices.
    pub fn spec(&self, path: &Path, adapter: Option<&Path>) -> ModelSpec {
        let first = |count| (0..count).map(|index| format!("cuda:{index}"));
        ModelSpec {
            path: path.to_owned(),
            adapter: adapter.map(Path::to_owned),
            device: match self.gpus {
                Some(count) => first(count).collect::<Vec<_>>().join(","),
                None => self.device.clone(),
            },
            dtype: self.dtype.clone(),
        }
    }
}

impl Placed for DeviceArgs {
    fn spec(&self, path: &Path, adapter: Option<&Path>) -> ModelSpec {
        DeviceArgs::spec(self, path, adapter)
    }
}

/// Reads `--device`: one, or several with commas between them.
fn devices(text: &str) -> Result<String, String> {
    let names: Vec<&str> = text.split(',').map(str::trim).collect();
    if names.len() > 1 && names.contains(&"") {
        return Err("want a device before and behind each comma, as in cuda:0,cuda:1".to_owned());
    }
    Ok(names.join(","))
}

/// Where a local model runs that has one engine, and in which type.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Local models")]
pub struct OneDeviceArgs {
    /// Where a local model runs: auto (a GPU if there is one), cpu, or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = device)]
    pub device: String,

    /// The type that a local model computes in: auto (bf16 for 16-bit checkpoints, else fp32; on a
    /// GPU without bf16, fp16), bf16, fp16 or fp32
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    pub dtype: String,
}

impl Placed for OneDeviceArgs {
    fn spec(&self, path: &Path, adapter: Option<&Path>) -> ModelSpec {
        ModelSpec {
            path: path.to_owned(),
            adapter: adapter.map(Path::to_owned),
            device: self.device.clone(),
            dtype: self.dtype.clone(),
        }
    }
}

/// Reads a `--device` that is one.
fn device(text: &str) -> Result<String, String> {
    if text.contains(',') {
        return Err("want one device: this command asks one thing at a time".to_owned());
    }
    Ok(text.to_owned())
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
    /// The most requests that a local model answers at once, on each device [default: 32;
    /// generate, judge, eval and compare: 24; on a GPU 128 to 256, as its memory allows]
    #[arg(long, alias = "max-batch", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub batch: Option<u16>,

    /// Memory for the KV cache, the keys and values of requests that a local model works on, on
    /// each device: 4GB, 500MB or 16GiB [default: 4GiB; on a GPU most of what is free once the
    /// model is loaded]
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
