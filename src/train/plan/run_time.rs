//! The time of a fine-tune on a GPU: what its steps compute and move, over what the GPU can compute
//! and move. All rates here are estimates. Nothing was measured on a GPU yet.

use super::estimate::MemoryEstimate;
use super::gpus::{GPUS, Gpu};
use super::size::Size;
use super::tensors::Tensors;
use super::update;
use ewe::finetune::Quantize;
use serde::Serialize;

/// Share of a GPU's peak that forward and backward passes reach with very many tokens per
/// micro-batch: norms, activation functions, attention and the loss take time and compute next to
/// nothing. With it, an H100 reaches 47 % at 2,048 tokens.
const MOST_OF_PEAK: f64 = 0.54;
/// Share of the memory bandwidth that kernels over long tensors reach: 2.7 of 3.35 TB/s on an H100.
const MOST_OF_BANDWIDTH: f64 = 0.8;
/// Bytes that a kernel moves to dequantize one NF4 weight: half a byte of code, a scale for 64
/// weights, and the weight in bf16.
const DEQUANTIZED: f64 = 2.6;

/// Kernels of one block, forward and backward.
const BLOCK_KERNELS: f64 = 75.0;
/// Kernels of the forward pass among these, which recomputing repeats.
const FORWARD_KERNELS: f64 = 25.0;
/// Kernels that an adapter adds to a linear layer, forward and backward: two small products with
/// conversions and a sum, and twice that for their gradients.
const ADAPTER_KERNELS: f64 = 24.0;
/// Kernels of embedding, loss, norms and updates.
const OTHER_KERNELS: f64 = 60.0;
/// Seconds that the host needs to launch a kernel through libtorch's dispatcher and autograd.
const LAUNCH: f64 = 5e-6;
/// Seconds between the end of a kernel and the start of the next one.
const GAP: f64 = 1e-6;
/// Seconds that a GPU is idle when the host reads a number and has to launch anew.
const READ: f64 = 50e-6;

/// Bytes per second between the host's pinned memory and a GPU, over 16 lanes of PCIe 4.
const PCIE: f64 = 25e9;
/// Bytes per second that an update on the host reads and writes: eight channels of memory, or a
/// desktop's two at half of it.
const HOST: f64 = 100e9;
/// Bytes per second that one NVMe disk writes.
const DISK: f64 = 1.5e9;
/// Seconds between checkpoints: the default of `ewe train` on a GPU.
const CHECKPOINT_EVERY: f64 = 900.0;

/// The time of a run on one GPU, in minutes, and what takes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GpuTime {
    /// Name of the GPU.
    pub gpu: &'static str,
    /// All of it.
    pub minutes: f64,
    /// Forward and backward passes.
    pub products: f64,
    /// Norms of gradients, their sums over micro-batches, and updates.
    pub updates: f64,
    /// Checkpoints and the final model, as far as steps wait for them.
    pub checkpoints: f64,
    /// What the ranks exchange, as far as nothing is computed meanwhile.
    pub exchange: f64,
    /// Kernels that the host launches more slowly than the GPU runs them, gaps between kernels, and
    /// reads by the host.
    pub launches: f64,
}

/// A run whose time is estimated.
#[derive(Clone, Copy)]
pub struct TimedRun<'a> {
    /// Sizes of the model.
    pub size: &'a Size,
    /// The memory estimate, with the run's configuration.
    pub estimate: &'a MemoryEstimate,
    /// Tokens of the whole run, on one rank.
    pub tokens: u64,
    /// Seconds of a step that exchanges take which overlap with computing, and of those that do
    /// not.
    pub exchanged: [f64; 2],
    /// Share of a GPU's peak that products reach; none to derive it from the tokens of a
    /// micro-batch.
    pub share: Option<f64>,
}

impl TimedRun<'_> {
    /// Returns the time on each GPU that holds the run.
    pub fn times(&self) -> Vec<GpuTime> {
        let holding = GPUS.iter().filter(|gpu| gpu.holds(self.estimate.total));
        holding.map(|gpu| self.on(gpu)).collect()
    }

    /// Returns the time on `gpu`. With updates in backward it is that of `--clip 0`; otherwise
    /// products are computed twice.
    pub fn on(&self, gpu: &Gpu) -> GpuTime {
        let steps = self.tokens.div_ceil(self.step_tokens()) as f64;
        let (products, updates) = (self.products(gpu), self.updates(gpu));
        let launches = self.launches(products + updates);
        let [beside, after] = self.exchanged;
        let exchange = (beside - products).max(0.0) + after;
        let checkpoints = self.checkpoints(steps * (products + updates + exchange + launches));
        let minutes = |seconds: f64| seconds / 60.0;
        GpuTime {
            gpu: gpu.name,
            minutes: minutes(steps * (products + updates + exchange + launches) + checkpoints),
            products: minutes(steps * products),
            updates: minutes(steps * updates),
            checkpoints: minutes(checkpoints),
            exchange: minutes(steps * exchange),
            launches: minutes(steps * launches),
        }
    }

    fn tensors(&self) -> Tensors<'_> {
        Tensors {
            size: self.size,
            config: &self.estimate.config,
        }
    }

    fn step_tokens(&self) -> u64 {
        let config = &self.estimate.config;
        config.step_tokens.max(config.tokens).min(self.tokens).max(1)
    }

    fn micro_batches(&self) -> f64 {
        self.step_tokens().div_ceil(self.estimate.config.tokens.max(1)) as f64
    }

    /// Returns how often the linear layers of the blocks are used for one micro-batch.
    fn passes(&self) -> f64 {
        if self.estimate.config.formats.recompute {
            3.0
        } else {
            2.0
        }
    }

    /// Returns the seconds of a step's forward and backward passes.
    fn products(&self, gpu: &Gpu) -> f64 {
        let config = &self.estimate.config;
        let peak = match config.is_bf16() {
            true => gpu.bf16,
            false => gpu.fp32,
        } * 1e12;
        let share = self
            .share
            .unwrap_or_else(|| share_of_peak(gpu, peak, config.width(), config.tokens));
        let computed = self.estimate.flops_per_token * self.step_tokens() as f64 / (peak * share);
        let quantized = !config.is_full() && config.formats.quantize == Some(Quantize::Nf4);
        let dequantized = match quantized {
            true => self.micro_batches() * self.passes() * self.size.linear as f64 * DEQUANTIZED,
            false => 0.0,
        };
        computed + dequantized / moved_per_second(gpu)
    }

    /// Returns the seconds of a step's updates, and of what precedes them.
    fn updates(&self, gpu: &Gpu) -> f64 {
        let (config, tensors) = (&self.estimate.config, self.tensors());
        let parts = if config.is_full() { config.parts } else { 1 };
        let trained = tensors.trained() as f64 / parts as f64;
        let summed = self.micro_batches() > 1.0;
        let gradient = if tensors.is_mixed() && !summed { 2 } else { 4 };
        // Each micro-batch's gradient is read, and added to a sum in fp32.
        let sums = match summed {
            true => self.micro_batches() * trained * (config.width() + 8) as f64,
            false => 0.0,
        };
        let before = (sums + trained * gradient as f64) / moved_per_second(gpu);
        let update = trained * update::bytes_moved(&tensors, gradient) as f64;
        if !(config.formats.offload && config.is_full()) {
            return before + update / moved_per_second(gpu);
        }
        // Gradients go to the host and weights come back while it updates others.
        let transferred = trained * (gradient + config.width()) as f64 / PCIE;
        before + transferred.max(update / HOST)
    }

    /// Returns the seconds of a step in which a GPU that is `busy` seconds waits for the host or
    /// between kernels.
    fn launches(&self, busy: f64) -> f64 {
        let config = &self.estimate.config;
        let layers = self.size.layers as f64;
        let repeated = self.passes() - 2.0;
        let blocks = layers * (BLOCK_KERNELS + repeated * FORWARD_KERNELS);
        let adapters = match config.is_full() {
            true => 0.0,
            false => self.size.linears.len() as f64 * ADAPTER_KERNELS * (1.0 + repeated / 3.0),
        };
        let kernels = self.micro_batches() * (blocks + adapters) + OTHER_KERNELS;
        // The norms of each block are read before its update.
        let reads = match config.formats.update_in_backward {
            true => layers + 2.0,
            false => 1.0,
        };
        kernels * GAP + (kernels * LAUNCH - busy).max(0.0) + reads * READ
    }

    /// Returns the seconds that a run of `seconds` waits for checkpoints: they are copied to the
    /// host's memory between two steps and written beside the next ones. The final model is written
    /// at the end.
    fn checkpoints(&self, seconds: f64) -> f64 {
        let (config, bytes) = (&self.estimate.config, &self.estimate.bytes);
        let (saved, result) = match config.is_full() {
            true if config.formats.offload => (self.estimate.host, bytes.weights),
            true => (bytes.weights + bytes.masters + bytes.states, bytes.weights),
            false => (bytes.masters + bytes.states, bytes.masters),
        };
        let late = (saved as f64 / DISK - CHECKPOINT_EVERY).max(0.0);
        let count = (seconds / CHECKPOINT_EVERY).floor();
        count * (saved as f64 / PCIE + late) + result as f64 / DISK
    }
}

/// Returns the share of `peak`, in FLOP/s, that products reach with `tokens` tokens per
/// micro-batch. A product of t tokens computes 2·t operations for each weight of `width` bytes, so
/// that at t = width / 2 · peak / bandwidth it takes as long to read the weight as to compute.
fn share_of_peak(gpu: &Gpu, peak: f64, width: u64, tokens: u64) -> f64 {
    let balance = width as f64 / 2.0 * peak / (gpu.bandwidth * 1e9);
    MOST_OF_PEAK * tokens as f64 / (tokens as f64 + balance)
}

/// Returns the bytes per second that kernels read and write.
fn moved_per_second(gpu: &Gpu) -> f64 {
    gpu.bandwidth * 1e9 * MOST_OF_BANDWIDTH
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> &'static Gpu {
        GPUS.iter().find(|gpu| gpu.name == name).unwrap()
    }

    #[test]
    fn products_reach_more_of_the_peak_with_more_tokens() {
        let h100 = named("H100 80 GB");
        let share = |tokens| share_of_peak(h100, 989e12, 2, tokens);
        assert!((share(2048) - 0.47).abs() < 0.005, "{}", share(2048));
        assert!(share(256) < 0.5 * share(8192) && share(1 << 17) < MOST_OF_PEAK);
    }
}
