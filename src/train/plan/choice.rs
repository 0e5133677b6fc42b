//! What a fine-tune is to be like, and what it then needs.

use super::block::Block;
use super::size::Size;
use crate::model::device::has_bf16;
use crate::train::loss;
use crate::train::optim::fallback;
use crate::train::plan::heaviest::Demand;
use crate::train::settings::Settings;
use ewe::cli::models::train::{Master, Method, OptimizerKind, Precision, Quantize};
use serde::Serialize;
use tch::Device;

/// What decides how much memory is needed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanConfig {
    /// What is trained.
    pub method: Method,
    /// Of the adapter.
    pub rank: u64,
    /// Layers with an adapter; all if empty.
    pub targets: Vec<String>,
    /// Whether the lengths of weights are learnt apart from an adapter's directions.
    pub dora: bool,
    /// In what the base's linear layers are kept, unless as they are computed with.
    pub quantize: Option<Quantize>,
    /// What is computed with.
    pub precision: Precision,
    /// What is kept of a weight besides its bf16.
    pub master: Master,
    /// The update rule.
    pub optimizer: OptimizerKind,
    /// Whether blocks are computed again.
    pub recompute: bool,
    /// Whether weights move within the backward pass.
    pub update_in_backward: bool,
    /// Whether masters and moments are in the machine's own memory.
    pub offload: bool,
    /// Tokens that go through the model at once.
    pub tokens: u64,
    /// Of these, those that the loss falls on.
    pub target_tokens: u64,
    /// Those of the step's other pieces, where these wait between blocks: with `update_in_backward`.
    pub tokens_beside: u64,
    /// Whether a step has several such pieces, so that gradients are summed in fp32.
    pub cut: bool,
    /// Whether it is on a GPU.
    pub gpu: bool,
}

impl PlanConfig {
    /// That of a run, while the piece of `demand` goes through the model.
    pub fn of(settings: &Settings, demand: &Demand, cut: bool, gpu: bool) -> PlanConfig {
        PlanConfig {
            method: settings.method,
            rank: settings.lora.as_ref().map_or(0, |lora| u64::from(lora.rank)),
            targets: settings
                .lora
                .as_ref()
                .map_or(Vec::new(), |lora| lora.targets.clone()),
            dora: settings.lora.as_ref().is_some_and(|lora| lora.dora),
            quantize: settings.quantize,
            precision: settings.precision,
            master: settings.master,
            optimizer: settings.optimizer,
            recompute: settings.recompute,
            update_in_backward: settings.update_in_backward,
            offload: settings.offload,
            tokens: demand.piece.id_t.len() as u64,
            target_tokens: demand.piece.target_n.len() as u64,
            tokens_beside: demand.tokens_beside() as u64,
            cut,
            gpu,
        }
    }

    /// What a tensor of so many bytes takes. The CPU's allocator has four sizes between a power of two and the next.
    fn room(&self, bytes: u64) -> u64 {
        if self.gpu || bytes < 4096 {
            return bytes;
        }
        let step = 1 << (63 - (bytes - 1).leading_zeros() - 2);
        bytes.next_multiple_of(step)
    }

    /// Whether this processor computes products of bf16 in fp32.
    fn widens(&self) -> bool {
        !self.gpu && self.precision == Precision::Bf16 && !has_bf16(Device::Cpu)
    }

    /// Bytes of a number that the model computes with.
    fn width(&self) -> u64 {
        match self.precision {
            Precision::Bf16 => 2,
            Precision::Fp32 => 4,
        }
    }
}

/// Bytes by kind, at the moment that takes most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Bytes {
    /// What the model computes with.
    pub weights: u64,
    /// What is kept of trained weights besides, or the adapter.
    pub masters: u64,
    /// What the optimizer remembers.
    pub states: u64,
    /// Gradients.
    pub gradients: u64,
    /// What the forward pass keeps for the backward pass, and what comes and goes in a block.
    pub activations: u64,
    /// Logits and what is made of them.
    pub logits: u64,
    /// libtorch itself, and what lies unused between blocks of its allocator.
    pub workspace: u64,
}

impl Bytes {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights
            + self.masters
            + self.states
            + self.gradients
            + self.activations
            + self.logits
            + self.workspace
    }

    /// What is there whether or not anything is computed, and all gradients: the figure of merit of a format.
    pub fn formats(&self, gradients: u64) -> u64 {
        self.weights + self.masters + self.states + gradients
    }
}

/// What libtorch and its libraries take before any tensor, and what lies unused between blocks of its allocator: on a GPU, on a CPU. There
/// it is 180 MB for libtorch, 120 for the products that stay compiled, and the rest.
const WORKSPACE: [u64; 2] = [1_000_000_000, 450_000_000];
/// The part of it that oneDNN allocates for its products on the CPU. With 10 MB here a plan was 7 MB above what `ewe selftest` took on a
/// processor without AMX (2026-11-28); with AMX it was not compared since.
pub const SCRATCH: u64 = 5_000_000;

/// What a choice needs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemoryEstimate {
    /// The choice.
    pub choice: PlanConfig,
    /// Numbers that are trained.
    pub trained: u64,
    /// Bytes of all gradients that exist at once.
    pub all_gradients: u64,
    /// By kind.
    pub bytes: Bytes,
    /// Their sum.
    pub total: u64,
    /// Of the machine's own memory, beside a GPU.
    pub host: u64,
    /// Floating-point operations for each token.
    pub flops_per_token: f64,
}

impl MemoryEstimate {
    /// Of `choice` for a model of this size, one block of which takes what `block` says.
    pub fn of(size: &Size, block: &Block, choice: &PlanConfig) -> MemoryEstimate {
        let full = choice.method == Method::Full;
        let (width, head) = (choice.width(), size.vocab * size.hidden);
        let trained = if full {
            size.parameters
        } else {
            size.adapter(choice.rank, &choice.targets, choice.dora)
        };
        let mixed = full && choice.precision == Precision::Bf16;
        // Tensors of all weights, or of all that is trained, with so many bytes a number.
        let all = |bytes: u64| size.counts().map(|count| choice.room(bytes * count)).sum::<u64>();
        let of_trained = |bytes: u64| if full { all(bytes) } else { bytes * trained };
        let (weights, mut dequantised) = match choice.quantize {
            Some(Quantize::Nf4) if !full => (quantised(size, choice, width), width * largest_linear(size)),
            _ => (all(width), 0),
        };
        // The lengths of rows are those of weights in fp32, for a moment.
        if choice.dora && choice.precision == Precision::Bf16 {
            dequantised += 4 * largest_linear(size);
        }
        let fixed = Bytes {
            weights,
            masters: match choice.master {
                _ if !full => 4 * trained,
                Master::Fp32 if mixed => all(4),
                Master::Split if mixed => all(2),
                _ => 0,
            },
            states: match choice.optimizer {
                OptimizerKind::Adamw => 2 * of_trained(4),
                OptimizerKind::Adamw8bit => 2 * of_trained(1) + 8 * trained.div_ceil(256),
                OptimizerKind::Adafactor => factored(size, choice),
            },
            workspace: WORKSPACE[usize::from(!choice.gpu)],
            ..Bytes::default()
        };
        // What is moved is then a copy.
        let offloaded = if choice.offload && full {
            all(width) + fixed.masters + fixed.states
        } else {
            0
        };
        let (fixed, host) = match (offloaded, choice.gpu) {
            (0, _) => (fixed, 0),
            (_, true) => (
                Bytes {
                    masters: 0,
                    states: 0,
                    ..fixed
                },
                offloaded,
            ),
            // The machine's own memory is all there is.
            (_, false) => (
                Bytes {
                    masters: fixed.masters + all(width),
                    ..fixed
                },
                0,
            ),
        };
        let whole = of_trained(if full { width } else { 4 });
        let head_gradient = if full { choice.room(width * head) } else { 0 };
        // The gradient that the head makes of an embedding lies beside the one that the embedding makes.
        let beside = if size.tied { head_gradient } else { 0 };
        let of_block = if full {
            size.of_block.iter().map(|count| choice.room(width * count)).sum()
        } else {
            4 * trained / size.layers
        };
        let several = choice.cut && !choice.update_in_backward;
        // Of an embedding, as it is made: in a step of several pieces it is added at once.
        let of_embedding = if several { 0 } else { head_gradient };
        // Sums of earlier pieces' gradients: apart from those of the piece that goes through, in fp32, or the leaves' own.
        let (sums, new) = match several {
            // Block by block, each is added as soon as it is there; the embedding's is the largest.
            true if mixed && choice.recompute => (all(4), of_block.max(choice.room(width * head))),
            true if mixed => (all(4), whole + beside),
            // The head's and the embedding's become one at the step's end.
            true => (whole + beside, of_block.max(head_gradient)),
            false => (0, whole + beside),
        };
        let features = |tokens: u64| choice.room(tokens * size.hidden * width);
        // Answers that begin alike have their targets at the same tokens.
        let wanted_tokens = choice.target_tokens.min(choice.tokens);
        let (hidden, wanted, at_targets) = (
            features(choice.tokens),
            features(wanted_tokens),
            features(choice.target_tokens),
        );
        let last = block.last(choice.tokens, wanted_tokens);
        let any = block.at(choice.tokens);
        let before_last = size.layers.saturating_sub(1);
        // What is kept of all blocks and of all but the last, and, of what is computed again, of any and of the last.
        let (all_kept, below_kept, again, last_again) = if choice.recompute {
            let inputs = |layers: u64| layers * hidden;
            (inputs(size.layers), inputs(before_last), any.kept, last.kept)
        } else {
            let below = before_last * any.kept;
            (below + last.kept, below, 0, 0)
        };
        // Whether a piece's gradients go into the sums at once.
        let at_once = several && (!mixed || choice.recompute);
        // While blocks are propagated back: the head's, and of how many blocks there are some by the second.
        let (of_head, two) = match choice.update_in_backward {
            true if !size.tied => (0, 1),
            true => (head_gradient, 1),
            false if at_once => (0, 1),
            false => (head_gradient, size.layers.min(2)),
        };
        let (logits, doubled_head) = loss_bytes(size, choice, width);
        // The CPU's kernels need nothing.
        let updating = match choice.gpu && !choice.offload {
            true => fallback::temporaries(size.counts().max().unwrap_or(0).min(trained)),
            false => 0,
        };
        // Beside its gradients.
        let within = |backward: u64| (backward + dequantised).saturating_sub(of_block);
        // Of the pieces beside it, what goes into so many blocks and the gradient of what comes out.
        let beside_pieces = |blocks: u64| (blocks + 1) * features(choice.tokens_beside);
        let moments = [
            // The loss: all that is kept, logits, and the head's gradient.
            Bytes {
                activations: all_kept + beside_pieces(size.layers) + wanted + 2 * at_targets,
                logits,
                gradients: head_gradient + doubled_head + sums,
                ..fixed
            },
            // The last block's backward pass.
            Bytes {
                activations: all_kept
                    + beside_pieces(size.layers)
                    + last_again
                    + within(last.backward)
                    + 2 * wanted,
                gradients: of_head + of_block + sums,
                ..fixed
            },
            // That of the one before it, of which more is wanted.
            Bytes {
                activations: below_kept
                    + beside_pieces(before_last)
                    + again
                    + within(any.backward)
                    + 2 * hidden,
                gradients: of_head + two * of_block + sums,
                ..fixed
            },
            // The first block's, when all other gradients but the embedding's are there.
            Bytes {
                activations: any.kept + beside_pieces(1) + within(any.backward) + hidden,
                gradients: sums
                    + if choice.update_in_backward {
                        beside + of_block
                    } else {
                        new - of_embedding
                    },
                ..fixed
            },
            // The embedding's.
            Bytes {
                activations: 3 * hidden + beside_pieces(0),
                gradients: sums
                    + if choice.update_in_backward {
                        beside + of_embedding
                    } else {
                        new
                    },
                ..fixed
            },
            // The update, where the embedding's two gradients become one.
            Bytes {
                workspace: fixed.workspace + updating,
                gradients: match (choice.update_in_backward, several) {
                    (true, _) => head_gradient + 2 * beside,
                    (false, true) => sums,
                    (false, false) => whole + 2 * beside,
                },
                ..fixed
            },
        ];
        let bytes = moments.into_iter().max_by_key(Bytes::total).unwrap_or_default();
        let passes = if full { 3.0 } else { 2.0 } + if choice.recompute { 1.0 } else { 0.0 };
        MemoryEstimate {
            choice: choice.clone(),
            trained,
            all_gradients: if choice.update_in_backward {
                of_block
            } else {
                whole
            },
            bytes,
            total: bytes.total(),
            host,
            flops_per_token: passes * 2.0 * (size.linear + head) as f64,
        }
    }
}

/// Bytes of the model when the linear layers of its blocks are in 4 bits, with a scale of 4 bytes for each 64.
fn quantised(size: &Size, choice: &PlanConfig, width: u64) -> u64 {
    let linear = |(_, inputs, outputs): &(String, u64, u64)| inputs * outputs;
    let in_four = |count: u64| choice.room(count / 2) + choice.room(4 * count.div_ceil(64));
    let plain: u64 = size.counts().map(|count| choice.room(width * count)).sum();
    let of_linears = size.linears.iter().map(linear);
    let replaced: u64 = of_linears.clone().map(|count| choice.room(width * count)).sum();
    plain - replaced + of_linears.map(in_four).sum::<u64>()
}

/// Numbers of the largest linear layer of a block.
fn largest_linear(size: &Size) -> u64 {
    let linear = |(_, inputs, outputs): &(String, u64, u64)| inputs * outputs;
    size.linears.iter().map(linear).max().unwrap_or(0)
}

/// What Adafactor remembers: of each matrix a number a row and a column.
fn factored(size: &Size, choice: &PlanConfig) -> u64 {
    if choice.method == Method::Lora {
        return 4
            * (size.adapter(1, &choice.targets, choice.dora) + 2 * choice.rank * size.linears.len() as u64);
    }
    let of = |shape: &Vec<i64>| match shape.as_slice() {
        [rows, columns] => rows + columns,
        other => 1 + other.iter().product::<i64>(),
    };
    4 * size.shapes.iter().map(of).sum::<i64>() as u64
}

/// Bytes of the loss: its buffers, and, where the head's gradient is made in several parts, the part that is added.
fn loss_bytes(size: &Size, choice: &PlanConfig, width: u64) -> (u64, u64) {
    let full = choice.method == Method::Full;
    let (vocab, targets) = (size.vocab, choice.target_tokens);
    let chunk = loss::chunk(targets as i64, vocab as i64, width as i64, full) as u64;
    let tile = loss::tile(vocab as i64, choice.gpu).min(chunk as i64) as u64;
    let buffer = choice.room(chunk * vocab * width);
    // A product in fp32 of what is bf16: the head's weight or its gradient, and logits.
    let head = choice.room(4 * vocab * size.hidden);
    let widened = |rows: u64| head + choice.room(4 * vocab * rows);
    let gradient = if full {
        choice.room(width * vocab * size.hidden)
    } else {
        0
    };
    let parts = targets.div_ceil(chunk.max(1));
    if !choice.widens() {
        let added = if parts > 1 { gradient } else { 0 };
        return (buffer + 2 * choice.room(4 * tile * vocab), added);
    }
    // The gradient is there from the second part on, and is counted apart.
    let last = gradient + widened(targets - chunk * parts.saturating_sub(1).min(targets));
    let peak = match parts {
        0 | 1 => widened(chunk).max(gradient + head),
        2 => widened(chunk).max(last),
        _ => gradient + widened(chunk),
    };
    (buffer + peak.saturating_sub(gradient), 0)
}
