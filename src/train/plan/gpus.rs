//! GPUs one can buy or rent, and how long a fine-tune takes there.

use super::choice::MemoryEstimate;
use serde::Serialize;

/// A GPU: name, memory in gigabytes, and its peak with dense bf16 products and fp32 sums in TFLOP/s, as its maker's data sheet has it.
const GPUS: [(&str, u64, f64); 13] = [
    ("RTX 4060 8 GB", 8, 30.2),
    ("RTX 4070 12 GB", 12, 58.3),
    ("RTX 4080 16 GB", 16, 97.5),
    ("RTX 4090 24 GB", 24, 165.2),
    ("RTX 5090 32 GB", 32, 209.5),
    ("A100 40 GB", 40, 312.0),
    ("L40S 48 GB", 48, 362.0),
    ("A100 80 GB", 80, 312.0),
    ("H100 80 GB", 80, 989.0),
    ("RTX PRO 6000 96 GB", 96, 503.8),
    ("H100 NVL 94 GB", 94, 835.5),
    ("H200 141 GB", 141, 989.0),
    ("B200 180 GB", 180, 2250.0),
];

/// How long it takes on a GPU that holds it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Time {
    /// The GPU.
    pub gpu: &'static str,
    /// Minutes.
    pub minutes: f64,
}

/// Minutes for so many tokens on every GPU that holds it, at a share of their peaks.
pub fn times(need: &MemoryEstimate, tokens: u64, share: f64) -> Vec<Time> {
    let holds = |memory: u64| need.total <= memory * 1_000_000_000;
    let of = |(gpu, _, teraflops): &(&'static str, u64, f64)| Time {
        gpu,
        minutes: need.flops_per_token * tokens as f64 / (teraflops * 1e12 * share) / 60.0,
    };
    GPUS.iter()
        .filter(|(_, memory, _)| holds(*memory))
        .map(of)
        .collect()
}

/// Memory in gigabytes of the smallest GPU that holds so many bytes.
pub fn smallest(bytes: u64) -> Option<u64> {
    let sizes = GPUS.iter().map(|(_, memory, _)| *memory);
    sizes.filter(|memory| bytes <= memory * 1_000_000_000).min()
}

/// The same in words.
pub fn smallest_named(bytes: u64) -> String {
    smallest(bytes).map_or("no one GPU".to_owned(), |memory| format!("{memory} GB"))
}
