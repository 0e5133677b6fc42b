//! How fast a run is, against what the machine can do.

use crate::model::{CausalLm, matmul};
use crate::train::data::micro_batch::MicroBatch;
use std::time::Instant;
use tch::{Device, Kind, Tensor};

/// Side of the matrices whose product sets the scale.
const SIDE: i64 = 1536;
/// Products that are timed at most, and after how many seconds no other is begun: it is part of a run's start.
const PRODUCTS: u32 = 5;
const SECONDS: f64 = 0.2;
/// Where a product of a quarter of the side takes longer, a large one would take minutes.
const SLOW: f64 = 0.1;

/// Floating-point operations a second of a large matrix product, the best of a few.
pub fn matmul_rate(kind: Kind, device: Device) -> f64 {
    let _guard = tch::no_grad_guard();
    let small = best_time(SIDE / 4, kind, device);
    if small > SLOW {
        return rate(SIDE / 4, small);
    }
    rate(SIDE, best_time(SIDE, kind, device))
}

fn rate(side: i64, seconds: f64) -> f64 {
    2.0 * (side as f64).powi(3) / seconds
}

/// Seconds of a product of square matrices, laid out as a linear layer's are.
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

/// Layers that make keys and values, by the ends of their paths: what later tokens need of every token.
const KEYS_AND_VALUES: [&str; 3] = ["k_proj", "v_proj", "query_key_value"];

/// The arithmetic that pieces need: matrix products of the model's definition, without padding or recomputation. What several examples
/// begin with counts once, and of the last block, where no target follows, keys, values and attention only.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    linear: f64,
    /// The part of `linear` that is needed before targets only.
    before_targets: f64,
    attention: f64,
    head: f64,
    full: bool,
}

impl Work {
    /// Of training `model`, all of it or an adapter.
    pub fn of(model: &mut dyn CausalLm, full: bool) -> Work {
        let info = model.info().clone();
        let last = format!(".{}.", info.layers - 1);
        let (mut linear, mut before_targets) = (0.0, 0.0);
        model.for_each_linear(&mut |layer| {
            let (outputs, inputs) = layer.size();
            let work = 2.0 * (outputs * inputs) as f64;
            linear += work;
            let of_every_token = KEYS_AND_VALUES.iter().any(|end| layer.path.ends_with(end));
            if layer.path.contains(&last) && !of_every_token {
                before_targets += work;
            }
        });
        // Scores and their use: 2 products of head_dim for each of half the pairs of tokens.
        let attention = 2.0 * info.layers as f64 * (info.heads * info.head_dim) as f64;
        Work {
            linear,
            before_targets,
            attention,
            head: 2.0 * (info.vocab * info.hidden) as f64,
            full,
        }
    }

    /// Operations for one piece: forward once; backward once for the inputs of each product and, where its weights
    /// are trained, once for those. Attention's two factors both need a gradient.
    pub fn flops(&self, piece: &MicroBatch) -> f64 {
        let (tokens, targets) = (piece.id_t.len() as f64, piece.target_n.len() as f64);
        let passes = if self.full { 3.0 } else { 2.0 };
        let mut ends: Vec<f64> = Vec::new();
        let mut pairs = 0.0;
        for branch in &piece.branches {
            let (start, length) = (branch.after.map_or(0.0, |at| ends[at]), branch.length as f64);
            pairs += length * start + length * length / 2.0;
            ends.push(start + length);
        }
        let wanted = piece.wanted().0.len() as f64;
        let linear = self.linear * tokens - self.before_targets * (tokens - wanted);
        passes * (linear + self.head * targets) + 3.0 * self.attention * 2.0 * pairs
    }
}
