//! A model of this machine, and the limits of its engine.

use std::path::PathBuf;

/// Which model, where it runs, and in which type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSpec {
    /// Directory of the model, or its id on the Hugging Face hub.
    pub path: PathBuf,
    /// Directory of a LoRA adapter in PEFT's format.
    pub adapter: Option<PathBuf>,
    /// `auto`, `cpu` or `cuda:N`; for an engine also several of them, with commas between.
    pub device: String,
    /// `auto`, `bf16`, `fp16` or `fp32`.
    pub dtype: String,
}

impl ModelSpec {
    /// Iterates over the names of the devices, at least one.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        self.device.split(',').map(str::trim)
    }
}

/// How much an engine may do at once, on each device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineLimits {
    /// The most requests in the running batch; none leaves it to the device.
    pub max_batch: Option<usize>,
    /// The same on the CPU where `max_batch` is none: the default of the command.
    pub cpu_batch: usize,
    /// The most bytes of keys and values of running requests; none leaves it to the device.
    pub kv_bytes: Option<usize>,
}
