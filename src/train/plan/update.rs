//! What an update on a GPU needs and moves: temporaries, and bytes read and written.

use super::tensors::Tensors;
use crate::train::optim::{fallback, registry};
use ewe::finetune::{Master, OptimizerKind};

/// Room for the tables of addresses and numbers that fused kernels read, and for partial sums of
/// norms: a few KB for each of a few hundred tensors.
const TABLES: u64 = 1 << 20;

/// Returns the bytes of temporaries while `numbers` numbers are updated together, of which the
/// largest tensor has `largest`.
pub fn temporaries(tensors: &Tensors, numbers: u64, largest: u64) -> u64 {
    let (config, formats) = (tensors.config, tensors.config.formats);
    let has_kernels = registry::spec(formats.optimizer).has_kernels;
    // The CPU's kernels need none, and offloaded updates run on the CPU.
    if formats.offload || !config.gpu && has_kernels {
        return 0;
    }
    if config.fused && has_kernels {
        // Sums of tiles of 64 rows and 256 columns along both, in fp32 (`csrc/gpu/adafactor.h`).
        let sums = match formats.optimizer {
            OptimizerKind::Adafactor => 4 * (numbers / 64 + numbers / 256),
            OptimizerKind::Adamw | OptimizerKind::Adamw8bit | OptimizerKind::Lion => 0,
        };
        return sums + TABLES;
    }
    let most = fallback::temporaries(largest);
    // Random bits of stochastic rounding are drawn in int64: fifteen tensors of 4 bytes a number
    // instead of ten.
    match draws(tensors) {
        true => most + most / 2,
        false => most,
    }
}

/// Returns whether updates round stochastically.
fn draws(tensors: &Tensors) -> bool {
    let formats = tensors.config.formats;
    let stochastic = formats.master == Master::Stochastic && tensors.is_mixed();
    stochastic || formats.optimizer == OptimizerKind::Adamw8bit
}

/// Returns the bytes that a fused update reads and writes for each trained number, without the norm
/// of the gradients, whose numbers have `gradient` bytes: 26 for AdamW with split masters, 14 with
/// an 8-bit state, 10 with that and stochastic rounding, 8 for Adafactor with it.
pub fn bytes_moved(tensors: &Tensors, gradient: u64) -> u64 {
    let config = tensors.config;
    let weights = match config.formats.master {
        // An fp32 weight, read and written.
        _ if !tensors.is_mixed() => 8,
        // The bf16 weight is only written.
        Master::Fp32 => 8 + 2,
        Master::Split => 2 * (2 + 2),
        Master::Stochastic | Master::Bf16 => 2 * 2,
    };
    match config.formats.optimizer {
        OptimizerKind::Adamw => weights + 2 * 2 * 4 + gradient,
        // Not fused: each of some twenty operations reads and writes fp32.
        OptimizerKind::Lion => weights + 2 * 4 + gradient + 20 * 2 * 4,
        OptimizerKind::Adamw8bit => weights + 2 * 2 + gradient,
        // Gradients are read for the size of the update and for the update, on the host for the
        // running means too. On a GPU these come with the norm.
        OptimizerKind::Adafactor => weights + if config.formats.offload { 3 } else { 2 } * gradient,
    }
}
