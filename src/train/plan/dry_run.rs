//! A few steps of a random model, large enough to be timed: tokens a second, the share of what the device's matrix products reach, and
//! memory beside its plan. Part of `ewe selftest`.

use crate::model::config::Fields;
use crate::model::device::{dtype_name, has_bf16};
use crate::shim::memory;
use crate::train::data::dataset::Example;
use crate::train::data::micro_batch::{MicroBatchLimits, pack};
use crate::train::optim::optimizer::Rule;
use crate::train::plan::Planner;
use crate::train::plan::choice::{MemoryEstimate, PlanConfig, SCRATCH};
use crate::train::selftest::models::{load, make};
use crate::train::speed::{self, Work};
use crate::train::trainer::{Trainer, Update};
use anyhow::{Result, bail};
use ewe::cli::models::train::{Master, Method, OptimizerKind, Precision};
use serde::Serialize;
use serde_json::json;
use std::path::Path;
use std::time::Instant;
use tch::{Device, Kind};

/// Steps that are timed, after one that is not.
const STEPS: u32 = 3;
/// Tokens of an example.
const LENGTH: u32 = 128;

/// What a trial found.
#[derive(Debug, Serialize)]
pub struct DryRun {
    /// Numbers of the model.
    pub parameters: u64,
    /// Type that was computed in.
    pub precision: &'static str,
    /// Of every weight's training.
    pub tokens_per_s: f64,
    /// Share of what a large matrix product of that type reaches.
    pub mfu: f64,
    /// Bytes that a step took at most, all that was there before it included; none where they are not counted.
    pub memory: Option<u64>,
    /// What `ewe plan` says of it.
    pub planned: u64,
}

impl DryRun {
    /// How far the plan is from what was measured, as a share of that.
    pub fn apart(&self) -> Option<f64> {
        let measured = self.memory? as f64;
        Some((self.planned as f64 - measured) / measured)
    }
}

/// A GPT-J, and examples of a step: seconds of work for the device.
fn size(device: Device) -> (serde_json::Value, u32) {
    let (hidden, layers, vocab, examples) = match device {
        Device::Cpu => (256, 4, 4096, 16),
        _ => (1536, 8, 50_400, 64),
    };
    let config = json!({
        "model_type": "gptj", "vocab_size": vocab, "n_positions": 2048, "n_embd": hidden, "n_layer": layers, "n_head": hidden / 64,
        "rotary_dim": 32, "n_inner": null, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new", "eos_token_id": 0,
    });
    (config, examples)
}

/// Makes a model in `dir`, which is empty, and trains it.
pub fn run(dir: &Path, device: Device) -> Result<DryRun> {
    let (config, count) = size(device);
    make(dir, &config)?;
    let (kind, precision) = match has_bf16(device) {
        true => (Kind::BFloat16, Precision::Bf16),
        false => (Kind::Float, Precision::Fp32),
    };
    let example = |n: u32| {
        // Each begins with another token, so that nothing is shared.
        let ids = (0..=LENGTH).map(|t| 1 + (n + 7 * t + t * t / 3) % 4000).collect();
        Example::learnt_from(LENGTH as usize / 2, format!("example {n}"), ids)
    };
    let examples: Vec<Example> = (0..count).map(example).collect();
    let all: Vec<usize> = (0..examples.len()).collect();
    let limits = MicroBatchLimits {
        examples: all.len(),
        positions: usize::MAX,
    };
    let piece = &pack(&examples, &all, limits)[0];
    let targets = piece.target_n.len();

    let nothing = memory::allocated(device);
    let mut trainer = Trainer::full(load(dir, device, kind)?, |_| None, Rule::default(), device);
    let mut step = |seed: i64| {
        trainer.learn(piece, targets, true, seed);
        match trainer.update(1e-4, 1.0, &|_| None) {
            Update::Done(_) => Ok(()),
            other => bail!("a step of the trial moved nothing: {other:?}"),
        }
    };
    step(0)?;
    let before = memory::allocated(device);
    let (ended, peak) = memory::peak_of(device, || step(1));
    ended?;
    let begun = Instant::now();
    for seed in 0..STEPS {
        step(i64::from(seed))?;
    }
    let seconds = begun.elapsed().as_secs_f64() / f64::from(STEPS);

    let work = Work::of(trainer.model.as_mut(), true).flops(piece);
    let need = planned(dir, precision, piece.id_t.len() as u64, targets as u64, device)?;
    Ok(DryRun {
        parameters: need.trained,
        precision: dtype_name(kind),
        tokens_per_s: piece.id_t.len() as f64 / seconds,
        mfu: work / seconds / speed::matmul_rate(kind, device),
        memory: before
            .zip(peak)
            .zip(nothing)
            .map(|((before, peak), nothing)| before + peak - nothing),
        planned: need.total - need.bytes.workspace + SCRATCH,
    })
}

fn planned(
    dir: &Path,
    precision: Precision,
    tokens: u64,
    target_tokens: u64,
    device: Device,
) -> Result<MemoryEstimate> {
    let choice = PlanConfig {
        method: Method::Full,
        rank: 0,
        targets: Vec::new(),
        dora: false,
        quantize: None,
        precision,
        master: Master::Split,
        optimizer: OptimizerKind::Adamw,
        recompute: false,
        update_in_backward: false,
        offload: false,
        tokens,
        target_tokens,
        tokens_beside: 0,
        cut: false,
        gpu: device.is_cuda(),
    };
    Planner::new(Fields::read(dir)?)?.need(&choice)
}
