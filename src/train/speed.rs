//! The speed of a run, compared with that of the device's matrix products, and figures of the GPU.

use crate::model::CausalLm;
use crate::model::layers::{ExpertsConfig, Linear, matmul};
use crate::shim::memory;
use crate::shim::nvml::GpuMonitor;
use crate::train::data::micro_batch::MicroBatch;
use crate::train::out::metrics::StepMetrics;
use std::time::{Duration, Instant};
use tch::{Device, Kind, Tensor};

/// Side of the square matrices whose product is timed on the CPU.
const SIDE: i64 = 1536;
/// Most products to time, and the seconds after which no other begins: this delays the start of a
/// run.
const PRODUCTS: u32 = 5;
const SECONDS: f64 = 0.2;
/// If a product of a quarter of the side takes longer than this, in seconds, a large one would take
/// minutes.
const SLOW: f64 = 0.1;

/// The same on a GPU. A product of this side takes 1.5 ms on an H100, so that ten of them between
/// two reads hide the microseconds that launching and reading take; with a side of 1536 and a read
/// after each, those would be most of the time.
const GPU_SIDE: i64 = 8192;
const GPU_PRODUCTS: u32 = 10;
/// Products before the clock starts: the first loads kernels and allocates cuBLAS's workspace.
const WARM_UP: u32 = 3;

/// Returns the floating-point operations per second of a large matrix product: on the CPU the best
/// of a few, on a GPU the mean.
pub fn matmul_rate(kind: Kind, device: Device) -> f64 {
    let _guard = tch::no_grad_guard();
    if device.is_cuda() {
        let side = gpu_side(memory::free(device));
        return pipelined_rate(side, GPU_PRODUCTS, kind, device);
    }
    let small = best_time(SIDE / 4, kind, device);
    if small > SLOW {
        return rate(SIDE / 4, small);
    }
    rate(SIDE, best_time(SIDE, kind, device))
}

/// The rate of a device's matrix products, in floating-point operations a second. A machine that
/// was busy when they were timed shows it later, by a step that is faster.
#[derive(Debug)]
pub struct PeakRate {
    rate: f64,
    kind: Kind,
    device: Device,
}

impl PeakRate {
    /// Times products of this kind of number; see [`matmul_rate`].
    pub fn measure(kind: Kind, device: Device) -> PeakRate {
        PeakRate {
            rate: matmul_rate(kind, device),
            kind,
            device,
        }
    }

    /// The rate as it is known now.
    pub fn get(&self) -> f64 {
        self.rate
    }

    /// Returns the share of the rate that a step reached, at most 1. If it was faster, a CPU's
    /// products are timed again; on a GPU that would take memory from the run.
    pub fn share(&mut self, reached: f64) -> f64 {
        if reached > self.rate {
            let again = match self.device {
                Device::Cpu => matmul_rate(self.kind, self.device),
                _ => reached,
            };
            self.rate = again.max(reached);
        }
        reached / self.rate
    }
}

fn rate(side: i64, seconds: f64) -> f64 {
    2.0 * (side as f64).powi(3) / seconds
}

/// Returns the seconds of a product of square matrices, laid out as in a linear layer.
fn best_time(side: i64, kind: Kind, device: Device) -> f64 {
    let matrix = || Tensor::full([side, side], 0.1, (kind, device));
    let (a, b) = (matrix(), matrix());
    let begun = Instant::now();
    let mut best = f64::INFINITY;
    for _ in 0..PRODUCTS {
        let each = Instant::now();
        // Reading one element waits for the device.
        let _ = matmul::linear(&a, &b, None).double_value(&[0, 0]);
        best = best.min(each.elapsed().as_secs_f64());
        if begun.elapsed().as_secs_f64() > SECONDS {
            break;
        }
    }
    best
}

/// Returns the side of the matrices on a GPU with this much free memory: all of them in fp32, and
/// the temporary that fills one, take half of it at most.
fn gpu_side(free: Option<u64>) -> i64 {
    let mut side = GPU_SIDE;
    let fits = |side: i64| free.is_none_or(|free| 2 * 5 * 4 * (side * side) as u64 <= free);
    while side > 1024 && !fits(side) {
        side /= 2;
    }
    side
}

/// Returns the rate of `products` products that are launched one after the other, without a read
/// between them.
fn pipelined_rate(side: i64, products: u32, kind: Kind, device: Device) -> f64 {
    // Equal numbers would flatter: they draw less power, which lets the clock run faster
    // (<https://www.thonking.ai/p/strangely-matrix-multiplications>).
    let matrix = |offset: f64| {
        let mut x = Tensor::arange(side * side, (Kind::Float, device));
        let _ = x.g_mul_scalar_(0.7371).g_add_scalar_(offset).sin_();
        x.view([side, side]).to_kind(kind)
    };
    let (a, b) = (matrix(0.0), matrix(1.0));
    let multiply = |times: u32| {
        let mut product = matmul::linear(&a, &b, None);
        for _ in 1..times {
            product = matmul::linear(&a, &b, None);
        }
        // Waits for the device.
        product.double_value(&[0, 0])
    };
    multiply(WARM_UP);
    let begun = Instant::now();
    multiply(products);
    rate(side, begun.elapsed().as_secs_f64() / f64::from(products))
}

/// Waits until a GPU has done all that was enqueued, and returns how long that took; zero on the
/// CPU, where nothing is enqueued.
pub fn wait_for(device: Device) -> Duration {
    let Device::Cuda(index) = device else {
        return Duration::ZERO;
    };
    let begun = Instant::now();
    tch::Cuda::synchronize(index as i64);
    begun.elapsed()
}

/// Reads the figures of a GPU between steps.
#[derive(Debug)]
pub struct GpuFigures {
    device: Device,
    /// None without NVML.
    monitor: Option<GpuMonitor>,
}

impl GpuFigures {
    /// Begins to read those of `device`; none on the CPU.
    pub fn of(device: Device) -> Option<GpuFigures> {
        let Device::Cuda(index) = device else {
            return None;
        };
        Some(GpuFigures {
            device,
            monitor: GpuMonitor::open(index),
        })
    }

    /// Fills in the figures of a step whose most allocated bytes were `peak`.
    pub fn fill(&self, line: &mut StepMetrics, peak: Option<u64>) {
        line.gpu_memory = memory::allocated(self.device);
        line.gpu_memory_peak = peak;
        line.gpu_utilization = self.monitor.as_ref().and_then(GpuMonitor::utilization);
    }
}

/// Ends of the paths of layers that compute keys and values, which later tokens need of every
/// token.
const KEYS_AND_VALUES: [&str; 5] = ["k_proj", "v_proj", "query_key_value", "qkv_proj", "c_attn"];

/// Floating-point operations that micro-batches need: matrix products of the model's definition,
/// without padding and recomputation. A shared prefix counts once; in the last block, tokens that
/// no target follows count for keys, values and attention only.
#[derive(Debug, Clone, Copy)]
pub struct FlopCounter {
    linear: f64,
    /// Part of `linear` that is needed only before targets.
    before_targets: f64,
    attention: f64,
    head: f64,
    full: bool,
}

impl FlopCounter {
    /// Counts the operations to train `model`, all of it or an adapter.
    pub fn of(model: &mut dyn CausalLm, full: bool) -> FlopCounter {
        let info = model.info().clone();
        let in_last = |path: &str| {
            let block = path.split('.').find_map(|part| part.parse::<usize>().ok());
            block == Some(info.layers - 1)
        };
        let (mut linear, mut before_targets) = (0.0, 0.0);
        let mut add = |layer: &Linear, share: f64| {
            let (outputs, inputs) = layer.size();
            let work = share * 2.0 * (outputs * inputs) as f64;
            linear += work;
            let of_every_token = KEYS_AND_VALUES.iter().any(|end| layer.path.ends_with(end));
            if in_last(&layer.path) && !of_every_token {
                before_targets += work;
            }
        };
        model.for_each_linear(&mut |layer| add(layer, 1.0));
        if let Some(ExpertsConfig { count, chosen, .. }) = model.experts() {
            let share = chosen as f64 / count as f64;
            model.for_each_expert_linear(&mut |layer| add(layer, share));
        }
        // Attention scores and their use: 2 products of head_dim for each of half the pairs of
        // tokens.
        let attention = 2.0 * info.layers as f64 * (info.heads * info.head_dim) as f64;
        FlopCounter {
            linear,
            before_targets,
            attention,
            head: 2.0 * (info.vocab * info.hidden) as f64,
            full,
        }
    }

    /// Returns the operations of one micro-batch: once for the forward pass; in the backward pass
    /// once for the inputs of each product, and once for its weights if they are trained. Both
    /// factors of attention need a gradient.
    pub fn count(&self, micro_batch: &MicroBatch) -> f64 {
        let (tokens, targets) = (micro_batch.id_t.len() as f64, micro_batch.target_n.len() as f64);
        let passes = if self.full { 3.0 } else { 2.0 };
        let mut ends: Vec<f64> = Vec::new();
        let mut pairs = 0.0;
        for branch in &micro_batch.nodes {
            let (start, length) = (branch.after.map_or(0.0, |at| ends[at]), branch.length as f64);
            pairs += length * start + length * length / 2.0;
            ends.push(start + length);
        }
        let wanted = micro_batch.wanted().0.len() as f64;
        let linear = self.linear * tokens - self.before_targets * (tokens - wanted);
        passes * (linear + self.head * targets) + 3.0 * self.attention * 2.0 * pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_timed_together() {
        let _guard = tch::no_grad_guard();
        for kind in [Kind::Float, Kind::BFloat16] {
            let rate = pipelined_rate(64, 3, kind, Device::Cpu);
            assert!(rate.is_finite() && rate > 1e5, "{rate}");
        }
    }

    #[test]
    fn a_step_faster_than_the_products_means_that_the_machine_was_busy() {
        let mut peak = PeakRate {
            rate: 1.0,
            kind: Kind::Float,
            device: Device::Cpu,
        };
        assert!((peak.share(0.5) - 0.5).abs() < 1e-12);
        // Timed again, the products are faster than that.
        assert!(peak.share(2.0) < 1.0);
        assert!(peak.get() > 1e5, "{}", peak.get());
        assert!((peak.share(1e18) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_full_gpu_gets_smaller_matrices() {
        assert_eq!(gpu_side(None), 8192);
        assert_eq!(gpu_side(Some(3_000_000_000)), 8192);
        assert_eq!(gpu_side(Some(1_000_000_000)), 4096);
        assert_eq!(gpu_side(Some(0)), 1024);
    }

    #[test]
    fn the_cpu_has_no_figures_of_a_gpu() {
        assert!(GpuFigures::of(Device::Cpu).is_none());
        assert_eq!(wait_for(Device::Cpu), Duration::ZERO);
    }
}
