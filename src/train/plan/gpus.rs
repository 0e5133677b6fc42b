//! GPUs that can be bought or rented.

/// A GPU by its data sheet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gpu {
    /// Its name.
    pub name: &'static str,
    /// Memory in gigabytes.
    pub memory: u64,
    /// Peak of dense bf16 products with fp32 sums, in TFLOP/s.
    pub bf16: f64,
    /// Peak of fp32 outside of tensor cores, in TFLOP/s.
    pub fp32: f64,
    /// Memory bandwidth in GB/s.
    pub bandwidth: f64,
}

const fn gpu(name: &'static str, memory: u64, bf16: f64, fp32: f64, bandwidth: f64) -> Gpu {
    Gpu {
        name,
        memory,
        bf16,
        fp32,
        bandwidth,
    }
}

/// Known GPUs. Sources, all NVIDIA's:
/// - GeForce 40: "Ada GPU Architecture", appendix, where fp32 sums halve the rate of tensor cores;
///   the 4070's and 4060's rates follow from their cores and clocks in the same way.
/// - GeForce 50 and RTX PRO 6000 (Workstation Edition): "RTX Blackwell GPU Architecture" and "RTX
///   Blackwell PRO GPU Architecture".
/// - A100 (SXM at 40 GB; at 80 GB the slower PCIe card), L40S, H100 (SXM and NVL), H200 (SXM):
///   their data sheets, where the rates with sparsity are twice these.
/// - B200: data sheet of HGX B200, divided by eight.
pub const GPUS: [Gpu; 13] = [
    gpu("RTX 4060 8 GB", 8, 30.2, 15.1, 272.0),
    gpu("RTX 4070 12 GB", 12, 58.3, 29.1, 504.0),
    gpu("RTX 4080 16 GB", 16, 97.5, 48.7, 716.8),
    gpu("RTX 4090 24 GB", 24, 165.2, 82.6, 1008.0),
    gpu("RTX 5090 32 GB", 32, 209.5, 104.8, 1792.0),
    gpu("A100 40 GB", 40, 312.0, 19.5, 1555.0),
    gpu("L40S 48 GB", 48, 362.0, 91.6, 864.0),
    gpu("A100 80 GB", 80, 312.0, 19.5, 1935.0),
    gpu("H100 80 GB", 80, 989.0, 67.0, 3350.0),
    gpu("RTX PRO 6000 96 GB", 96, 503.8, 125.0, 1792.0),
    gpu("H100 NVL 94 GB", 94, 835.5, 60.0, 3938.0),
    gpu("H200 141 GB", 141, 989.0, 67.0, 4800.0),
    gpu("B200 180 GB", 180, 2250.0, 75.0, 8000.0),
];

impl Gpu {
    /// Returns whether it holds this many bytes.
    pub fn holds(&self, bytes: u64) -> bool {
        bytes <= self.memory * 1_000_000_000
    }
}

/// Returns the memory in gigabytes of the smallest GPU that holds this many bytes.
pub fn smallest(bytes: u64) -> Option<u64> {
    let holding = GPUS.iter().filter(|gpu| gpu.holds(bytes));
    holding.map(|gpu| gpu.memory).min()
}

/// Returns the same in words.
pub fn smallest_named(bytes: u64) -> String {
    smallest(bytes).map_or("no one GPU".to_owned(), |memory| format!("{memory} GB"))
}
