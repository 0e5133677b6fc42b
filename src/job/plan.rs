//! What `ewe plan` does.

use std::path::PathBuf;

use crate::finetune::{Formats, LoraSettings, Method, Precision};
use crate::job::train::Shard;

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
    /// Precision; none takes bf16, and on this machine fp32 where it has no bf16.
    pub precision: Option<Precision>,
    /// Whether formats that take less memory than others were given, so that none is chosen.
    pub formats_are_given: bool,
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
    /// GPUs of each machine that train together.
    pub gpus: u64,
    /// Machines that train together.
    pub nodes: u64,
    /// Among how many GPUs a model that is trained in full is divided.
    pub shard: Option<Shard>,
    /// How the GPUs are connected; none for the usual way.
    pub link: Option<Link>,
    /// Whether to print JSON.
    pub json: bool,
}

impl PlanJob {
    /// Returns the GPUs of all machines.
    pub fn ranks(&self) -> u64 {
        self.gpus * self.nodes
    }

    /// Returns among how many GPUs a model is divided; 1 for none.
    pub fn parts(&self) -> u64 {
        match self.shard {
            None => 1,
            Some(Shard::All) => self.ranks(),
            Some(Shard::Ranks(parts)) => parts as u64,
        }
    }

    /// Returns how the GPUs are connected: within a machine by NVLink, machines by InfiniBand,
    /// unless it was said.
    pub fn wire(&self) -> Link {
        self.link.unwrap_or(match self.nodes {
            1 => Link::Nvlink,
            _ => Link::Ib400,
        })
    }
}

/// The slowest connection on the way from one GPU to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Link {
    /// NVLink of the fourth generation, 450 GB/s in each direction
    Nvlink,
    /// InfiniBand NDR, 400 Gbit/s for each GPU
    Ib400,
    /// Ethernet, 100 Gbit/s for each machine
    Eth100,
}

impl Link {
    /// Returns the bytes per second in each direction, by data sheets.
    pub fn rate(self) -> f64 {
        match self {
            Link::Nvlink => 450e9,
            Link::Ib400 => 50e9,
            Link::Eth100 => 12.5e9,
        }
    }

    /// Returns whether the GPUs of a machine share it.
    pub fn is_shared(self) -> bool {
        self == Link::Eth100
    }
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
