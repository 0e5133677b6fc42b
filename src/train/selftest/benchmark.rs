//! A few timed steps of a random model: tokens per second, the share of the device's matmul rate,
//! and memory beside its estimate.

use crate::model::device::{dtype_name, has_bf16};
use crate::model::files::config::ConfigFields;
use crate::shim::memory;
use crate::train::data::dataset::Example;
use crate::train::data::micro_batch::{MicroBatchLimits, pack};
use crate::train::optim::optimizer::OptimizerConfig;
use crate::train::plan::branches::Branches;
use crate::train::plan::config::PlanConfig;
use crate::train::plan::estimate::MemoryEstimate;
use crate::train::plan::planner::Planner;
use crate::train::selftest::models::{load, make};
use crate::train::speed::{self, FlopCounter};
use crate::train::trainer::{StepOutcome, Trainer};
use anyhow::{Result, bail};
use ewe::finetune::{Formats, LoraSettings, Method, Precision};
use serde::Serialize;
use serde_json::json;
use std::path::Path;
use std::time::Instant;
use tch::{Device, Kind};

/// Timed steps, after one that is not timed.
const STEPS: u32 = 3;
/// Tokens of an example.
const LENGTH: u32 = 128;

/// Result of the benchmark.
#[derive(Debug, Serialize)]
pub struct Benchmark {
    /// Numbers of the model.
    pub parameters: u64,
    /// Type that the model computed in.
    pub precision: &'static str,
    /// Tokens per second of full fine-tuning.
    pub tokens_per_s: f64,
    /// Share of the rate of a large matrix product of that type.
    pub mfu: f64,
    /// Peak bytes of a step, model included; none if nothing counts them.
    pub memory: Option<u64>,
    /// The same in the memory estimate.
    pub planned: u64,
}

impl Benchmark {
    /// Returns how far the estimate is from the measurement, as a share of that.
    pub fn apart(&self) -> Option<f64> {
        let measured = self.memory? as f64;
        Some((self.planned as f64 - measured) / measured)
    }
}

/// Returns the configuration of a GPT-J, and the number of examples per step: seconds of work for
/// the device.
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

/// Makes a model in the empty directory `dir`, and trains it.
pub fn run(dir: &Path, device: Device) -> Result<Benchmark> {
    let (config, count) = size(device);
    make(dir, &config)?;
    let (kind, precision) = match has_bf16(device) {
        true => (Kind::BFloat16, Precision::Bf16),
        false => (Kind::Float, Precision::Fp32),
    };
    let example = |n: u32| {
        // Each begins with another token, so that no prefix is shared.
        let ids = (0..=LENGTH).map(|t| 1 + (n + 7 * t + t * t / 3) % 4000).collect();
        Example::with_targets_from(LENGTH as usize / 2, format!("example {n}"), ids)
    };
    let examples: Vec<Example> = (0..count).map(example).collect();
    let all: Vec<usize> = (0..examples.len()).collect();
    let limits = MicroBatchLimits {
        examples: all.len(),
        positions: usize::MAX,
    };
    let micro_batch = &pack(&examples, &all, limits)[0];
    let targets = micro_batch.target_n.len();

    let nothing = memory::allocated(device);
    let mut trainer = Trainer::full(
        load(dir, device, kind)?,
        |_| None,
        OptimizerConfig::default(),
        device,
    );
    let mut step = |seed: i64| {
        trainer.forward_backward(micro_batch, targets, true, seed);
        match trainer.update(1e-4, 1.0, &|_| None) {
            StepOutcome::Updated(_) => Ok(()),
            other => bail!("a step of the benchmark updated nothing: {other:?}"),
        }
    };
    step(0)?;
    let before = memory::allocated(device);
    let (ended, peak) = memory::peak_of(device, || step(1));
    ended?;
    // The update of a step is enqueued only.
    speed::wait_for(device);
    let begun = Instant::now();
    for seed in 0..STEPS {
        step(i64::from(seed))?;
    }
    speed::wait_for(device);
    let seconds = begun.elapsed().as_secs_f64() / f64::from(STEPS);

    let work = FlopCounter::of(trainer.model.as_mut(), true).count(micro_batch);
    let estimate = planned(
        dir,
        precision,
        micro_batch.id_t.len() as u64,
        targets as u64,
        device,
    )?;
    Ok(Benchmark {
        parameters: estimate.trained,
        precision: dtype_name(kind),
        tokens_per_s: micro_batch.id_t.len() as f64 / seconds,
        mfu: work / seconds / speed::matmul_rate(kind, device),
        memory: before
            .zip(peak)
            .zip(nothing)
            .map(|((before, peak), nothing)| before + peak - nothing),
        planned: estimate.allocated(),
    })
}

fn planned(
    dir: &Path,
    precision: Precision,
    tokens: u64,
    target_tokens: u64,
    device: Device,
) -> Result<MemoryEstimate> {
    let config = PlanConfig {
        method: Method::Full,
        lora: LoraSettings::default(),
        formats: Formats {
            precision,
            ..Formats::default()
        },
        tokens,
        target_tokens,
        tokens_beside: 0,
        cut: false,
        parts: 1,
        gpu: device.is_cuda(),
        step_tokens: tokens,
        branches: Branches::apart(tokens),
        fused: PlanConfig::fuses_on(device),
    };
    Planner::new(ConfigFields::read(dir)?)?.estimate(&config)
}
