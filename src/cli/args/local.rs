//! Options of commands that run a model on this machine.

use super::size;

/// Where a local model runs, and in which type.
#[derive(Debug, Clone, clap::Args)]
pub struct Place {
    /// Where a local model runs: auto (a GPU if there is one), cpu, or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: String,

    /// Numbers that a local model computes in: auto (bf16 for 16-bit checkpoints, else fp32), bf16, fp16 or fp32
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    pub dtype: String,
}

/// What a local model may use to answer several requests at once.
#[derive(Debug, Clone, clap::Args)]
pub struct Engine {
    /// The most requests that a local model works on at once [default: 32; generate and judge: 24]
    #[arg(long, alias = "max-batch", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub batch: Option<u16>,

    /// Memory for the keys and values of requests that a local model works on: 4GB, 500MB or 16GiB
    #[arg(long, value_name = "SIZE", default_value = "4GiB", value_parser = size::parse)]
    pub kv_memory: u64,
}

impl Engine {
    /// The most requests at once, `default` where nothing was said.
    pub fn batch(&self, default: u16) -> usize {
        usize::from(self.batch.unwrap_or(default))
    }
}
