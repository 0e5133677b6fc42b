//! What `ewe plan` does.

use std::path::PathBuf;

use crate::finetune::{Formats, LoraSettings, Method, Precision};

/// A fine-tune whose memory and time are estimated.
#[derive(Debug, Clone)]
pub struct PlanJob {
    /// Directory of a model, its config.json, or its id on the Hugging Face hub.
    pub model: PathBuf,
    /// The only method to plan for.
    pub method: Option<Method>,
    /// Settings of the adapter.
    pub lora: LoraSettings,
    /// Number formats and memory strategies, of both methods.
    pub formats: Formats,
    /// Tokens per micro-batch.
    pub micro_tokens: u64,
    /// How many of these are targets; none means all.
    pub target_tokens: Option<u64>,
    /// Whether a step has several micro-batches.
    pub cut: bool,
    /// Tokens of a step; none means one micro-batch, or two if there are several.
    pub step_tokens: Option<u64>,
    /// Tokens of the whole run.
    pub tokens: u64,
    /// Share of a GPU's peak that forward and backward passes reach, in percent; none to estimate
    /// it.
    pub utilisation: Option<f64>,
    /// Bytes of memory to fit into.
    pub memory: Option<u64>,
    /// GPUs that train together, each with all of it.
    pub gpus: u64,
    /// Whether to print JSON.
    pub json: bool,
}

/// A model to serve, whose memory is estimated.
#[derive(Debug, Clone)]
pub struct PlanServeJob {
    /// Directory of a model, its config.json, or its id on the Hugging Face hub.
    pub model: PathBuf,
    /// The type that it computes in.
    pub precision: Precision,
    /// The GPU to plan for; none for common sizes, and the CPU.
    pub gpu: Option<GpuChoice>,
    /// Bytes of keys and values; none leaves them to the device.
    pub kv_bytes: Option<u64>,
    /// Whether to print JSON.
    pub json: bool,
}

/// A GPU as it is named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GpuChoice {
    /// Bytes of its memory.
    Memory(u64),
    /// Words of its name.
    Name(String),
}
