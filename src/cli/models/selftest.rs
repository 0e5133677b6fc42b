//! `ewe selftest`

use std::path::PathBuf;

/// Arguments of `ewe selftest`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// auto, cpu, or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: String,

    /// JSON on stdout
    #[arg(long)]
    pub json: bool,

    /// Check only the GPU's kernels; on a GPU, time them too. For scripts/gpu_day.py
    #[arg(long, hide = true)]
    pub kernels: bool,

    /// Instead of checks, train the random model that this JSON file describes, and measure. For
    /// scripts/gpu_day.py
    #[arg(long, hide = true, value_name = "FILE", conflicts_with = "kernels")]
    pub workload: Option<PathBuf>,
}
