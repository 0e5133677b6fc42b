//! `ewe selftest --workload FILE`: trains a model with random weights for a few steps, or generates
//! with it, and measures speed, memory beside its estimate, and what a step asks libtorch for. The
//! weights are made on the device, so that no file of a 6B model is needed. For
//! `scripts/gpu_day.py`.

use super::decode::DecodeWorkload;
use super::kernel_speed::wait;
use super::models;
use super::step_trace::StepTrace;
use crate::model;
use crate::model::device::has_bf16;
use crate::model::fault;
use crate::model::files::config::ConfigFields;
use crate::shim::memory;
use crate::train::data::dataset::Example;
use crate::train::data::micro_batch::{MicroBatch, MicroBatchLimits, pack};
use crate::train::fit;
use crate::train::optim::optimizer::OptimizerConfig;
use crate::train::out::files;
use crate::train::plan::branches::Branches;
use crate::train::plan::config::PlanConfig;
use crate::train::plan::estimate::MemoryEstimate;
use crate::train::plan::planner::Planner;
use crate::train::speed::{self, FlopCounter};
use crate::train::trainer::{StepOutcome, Trainer};
use anyhow::{Context, Result, bail, ensure};
use ewe::atomic_file::scratch::ScratchFolder;
use ewe::finetune::{self, Formats, LoraSettings, Method, Precision};
use ewe::job::train::GpuNumerics;
use ewe::settings_file;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Instant;
use tch::{Device, Kind};

/// Learning rate; small, so that no loss becomes infinite within a few steps.
const RATE: f64 = 1e-5;

/// What a file describes.
#[derive(Debug, Deserialize)]
#[serde(tag = "work", rename_all = "lowercase")]
enum Workload {
    Train(TrainWorkload),
    Decode(DecodeWorkload),
}

/// A fine-tune of a random model.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrainWorkload {
    /// The model's config.json.
    config: serde_json::Value,
    method: Method,
    formats: Formats,
    /// Rank of the adapter with `"method": "lora"`.
    #[serde(default = "default_rank")]
    lora_rank: u32,
    /// Examples of a step.
    examples: u32,
    /// Tokens of an example that pass through the model; half of them are before targets.
    length: u32,
    /// Most tokens of a micro-batch.
    micro_tokens: u32,
    /// Global norm to clip to; 0 does not clip.
    #[serde(default = "default_clip")]
    clip: f64,
    /// Timed steps, after two that are not timed.
    steps: u32,
    /// Whether to count the operators of one more step.
    #[serde(default)]
    trace: bool,
}

fn default_rank() -> u32 {
    finetune::LORA_RANK
}

fn default_clip() -> f64 {
    1.0
}

/// The result, as JSON on standard output.
#[derive(Debug, Serialize)]
struct WorkloadReport {
    /// Trained numbers.
    trained: u64,
    /// Tokens of a step.
    tokens: usize,
    micro_batches: usize,
    /// Whether the planned memory is free; if not, nothing ran.
    fits: bool,
    /// Free bytes of the device before the model was made, if it tells.
    free: Option<u64>,
    /// Planned bytes in all, with libraries and workspace.
    planned_total: u64,
    /// Planned bytes of host memory, with offloading.
    planned_host: u64,
    /// Bytes that the allocator should count at the peak of a step.
    planned: u64,
    #[serde(flatten)]
    measured: Option<Measured>,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Measured {
    /// Peak bytes of a step, model included; none if nothing counts them.
    memory: Option<u64>,
    seconds_per_step: f64,
    tokens_per_s: f64,
    /// Share of the rate of a large matrix product.
    mfu: f64,
    /// That rate, in 10¹² operations per second.
    matmul_tflops: f64,
    /// Mean loss of the last step, in nats.
    loss: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<StepTrace>,
}

/// Trains the workload in `file` on `device`. Prints the result. Returns the exit code.
pub fn run(file: &Path, device: &str) -> Result<u8> {
    let text = settings_file::read_text(file, settings_file::LONGEST)
        .with_context(|| format!("cannot read {}", file.display()))?;
    let workload: Workload =
        serde_json::from_str(&text).with_context(|| format!("{} is not a workload", file.display()))?;
    // Training is deterministic on a GPU, generation is not.
    let device = match &workload {
        Workload::Train(_) => model::device::for_training(device, GpuNumerics::default())?,
        Workload::Decode(_) => model::device::device(device)?,
    };
    let report = fault::caught(|| match &workload {
        Workload::Train(work) => Ok(serde_json::to_value(work.report(device)?)?),
        Workload::Decode(work) => Ok(serde_json::to_value(work.report(device)?)?),
    })?;
    println!("{}", ewe::streams::json::pretty(&report)?);
    Ok(0)
}

impl TrainWorkload {
    fn report(&self, device: Device) -> Result<WorkloadReport> {
        ensure!(
            self.examples > 0 && self.length > 1 && self.steps > 0,
            "examples, length and steps must be positive, and length at least 2"
        );
        let dir = ScratchFolder::within(&std::env::temp_dir())?;
        files::write_json(&dir.path().join("config.json"), &self.config)?;
        let fields = ConfigFields::read(dir.path())?;
        let micro_batches = self.micro_batches(model::info(&fields)?.vocab);
        let formats = self.formats(device);
        let estimate = self.estimate(ConfigFields::read(dir.path())?, formats, &micro_batches, device)?;
        let free = fit::free(device);
        let fits = free.is_none_or(|free| estimate.total <= free)
            && fit::free(Device::Cpu).is_none_or(|free| estimate.host <= free);
        let measured = match fits {
            true => Some(self.measure(&fields, formats, &micro_batches, device)?),
            false => None,
        };
        Ok(WorkloadReport {
            trained: estimate.trained,
            tokens: micro_batches.iter().map(|of| of.id_t.len()).sum(),
            micro_batches: micro_batches.len(),
            fits,
            free,
            planned_total: estimate.total,
            planned_host: estimate.host,
            planned: estimate.allocated(),
            measured,
        })
    }

    /// Returns the formats, with fp32 where the processor has no bf16 instructions.
    fn formats(&self, device: Device) -> Formats {
        let formats = self.formats.of_method(self.method);
        match has_bf16(device) {
            true => formats,
            false => Formats {
                precision: Precision::Fp32,
                ..formats
            },
        }
    }

    fn lora(&self) -> LoraSettings {
        LoraSettings {
            rank: self.lora_rank,
            alpha: finetune::default_alpha(self.lora_rank),
            ..LoraSettings::default()
        }
    }

    /// Returns the micro-batches of a step. Each example begins with another token, so that no
    /// prefix is shared.
    fn micro_batches(&self, vocab: i64) -> Vec<MicroBatch> {
        let example = |n: u32| {
            let id = |t: u32| {
                let mixed = u64::from(n) * 7919 + u64::from(t) * 104_729 + u64::from(t / 3) * 31;
                (mixed % vocab as u64) as u32
            };
            let ids = (0..=self.length).map(id).collect();
            Example::with_targets_from(self.length as usize / 2, format!("example {n}"), ids)
        };
        let examples: Vec<Example> = (0..self.examples).map(example).collect();
        let all: Vec<usize> = (0..examples.len()).collect();
        let limits = MicroBatchLimits {
            examples: all.len(),
            positions: self.micro_tokens as usize,
        };
        pack(&examples, &all, limits)
    }

    /// Estimates the memory of a step, which its first micro-batch, as large as any, needs most.
    fn estimate(
        &self,
        fields: ConfigFields,
        formats: Formats,
        micro_batches: &[MicroBatch],
        device: Device,
    ) -> Result<MemoryEstimate> {
        let tokens = |of: &MicroBatch| of.id_t.len() as u64;
        let largest = micro_batches
            .iter()
            .max_by_key(|of| tokens(of))
            .expect("an example at least");
        let mut config = PlanConfig {
            method: self.method,
            lora: self.lora(),
            formats,
            tokens: tokens(largest),
            target_tokens: largest.target_n.len() as u64,
            tokens_beside: 0,
            cut: micro_batches.len() > 1,
            parts: 1,
            gpu: device.is_cuda(),
            step_tokens: micro_batches.iter().map(tokens).sum(),
            branches: Branches::of(&largest.nodes),
            fused: PlanConfig::fuses_on(device),
        };
        config.place_step();
        Planner::new(fields)?.estimate(&config)
    }

    fn measure(
        &self,
        fields: &ConfigFields,
        formats: Formats,
        micro_batches: &[MicroBatch],
        device: Device,
    ) -> Result<Measured> {
        let kind = match formats.precision {
            Precision::Bf16 => Kind::BFloat16,
            Precision::Fp32 => Kind::Float,
        };
        let nothing = memory::allocated(device);
        let mut trainer = self.trainer(fields, formats, kind, device)?;
        self.step(&mut trainer, micro_batches, 0)?;
        wait(device);
        let before = memory::allocated(device);
        let (ended, peak) = memory::peak_of(device, || self.step(&mut trainer, micro_batches, 1));
        ended?;
        wait(device);
        let begun = Instant::now();
        let mut loss = 0.0;
        for seed in 0..self.steps {
            loss = self.step(&mut trainer, micro_batches, i64::from(seed) + 2)?;
        }
        wait(device);
        let seconds = begun.elapsed().as_secs_f64() / f64::from(self.steps);
        let trace = match self.trace {
            true => Some(StepTrace::of(device, || {
                self.step(&mut trainer, micro_batches, -1).map(|_| ())
            })?),
            false => None,
        };
        let tokens: usize = micro_batches.iter().map(|of| of.id_t.len()).sum();
        let counter = FlopCounter::of(trainer.model.as_mut(), self.method == Method::Full);
        let work: f64 = micro_batches.iter().map(|of| counter.count(of)).sum();
        drop(trainer);
        let rate = speed::matmul_rate(kind, device);
        Ok(Measured {
            memory: before
                .zip(peak)
                .zip(nothing)
                .map(|((before, peak), nothing)| (before + peak).saturating_sub(nothing)),
            seconds_per_step: seconds,
            tokens_per_s: tokens as f64 / seconds,
            mfu: work / seconds / rate,
            matmul_tflops: rate / 1e12,
            loss,
            trace,
        })
    }

    fn trainer(
        &self,
        fields: &ConfigFields,
        formats: Formats,
        kind: Kind,
        device: Device,
    ) -> Result<Trainer> {
        let mut model = models::random(fields, kind, device)?;
        if formats.quantize.is_some() {
            model.for_each_linear(&mut |linear| linear.quantize());
        }
        let config = OptimizerConfig {
            formats,
            ..OptimizerConfig::default()
        };
        let mut trainer = match self.method {
            Method::Full => Trainer::full(model, |_| None, config, device),
            Method::Lora => Trainer::lora(model, self.lora(), 0, config, device),
        };
        trainer.recompute = formats.recompute;
        Ok(trainer)
    }

    /// Runs a step as `ewe train` does. Returns its mean loss.
    fn step(&self, trainer: &mut Trainer, micro_batches: &[MicroBatch], seed: i64) -> Result<f64> {
        let targets: usize = micro_batches.iter().map(|of| of.target_n.len()).sum();
        let (nll, outcome) = if self.formats.of_method(self.method).update_in_backward {
            let seeded: Vec<(&MicroBatch, i64)> = micro_batches.iter().map(|of| (of, seed)).collect();
            trainer.update_in_backward_pass(&seeded, targets, RATE, self.clip, &|_, _| None)
        } else {
            let last = micro_batches.len() - 1;
            let nll: f64 = micro_batches
                .iter()
                .enumerate()
                .map(|(n, of)| trainer.forward_backward(of, targets, n == last, seed))
                .sum();
            (nll, trainer.update(RATE, self.clip, &|_| None))
        };
        match outcome {
            StepOutcome::Updated(_) => Ok(nll / targets as f64),
            other => bail!("a step updated nothing: {other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A tiny GPT-J: 8 examples of 32 tokens, in micro-batches of at most 128.
    fn workload(method: &str, formats: serde_json::Value) -> TrainWorkload {
        let (_, config) = model::selftest_configs()
            .find(|(family, _)| *family == "gptj")
            .unwrap();
        let workload = json!({
            "config": config, "method": method, "formats": formats, "examples": 8, "length": 32,
            "micro_tokens": 128, "steps": 1, "lora_rank": 4, "trace": true,
        });
        serde_json::from_value(workload).unwrap()
    }

    #[test]
    fn every_format_trains_a_random_model_near_its_planned_memory() {
        let split = json!({"precision": "bf16", "master": "split", "optimizer": "adamw"});
        let eight = json!({"precision": "bf16", "master": "stochastic", "optimizer": "adamw8bit", "update_in_backward": true});
        let nf4 = json!({"precision": "bf16", "master": "split", "optimizer": "adamw", "quantize": "nf4"});
        for (method, formats) in [("full", split), ("full", eight), ("lora", nf4)] {
            let report = workload(method, formats.clone()).report(Device::Cpu).unwrap();
            let measured = report.measured.as_ref().unwrap();
            assert_eq!((report.tokens, report.micro_batches), (256, 2), "{formats}");
            assert!(report.fits && measured.loss.is_finite(), "{report:?}");
            let trace = measured.trace.as_ref().unwrap();
            assert!(trace.operators > 0 && trace.cudnn.is_empty(), "{trace:?}");
            let memory = measured.memory.expect("the tests' allocator counts");
            assert!(memory > 0 && report.planned > 0, "{report:?}");
        }
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let text = r#"{"work": "train", "config": {}, "method": "full", "length": 8, "words": 3}"#;
        let error = serde_json::from_str::<Workload>(text).unwrap_err();
        assert!(error.to_string().contains("words"), "{error}");
    }
}
