//! The trainer against `transformers` and `peft` (`scripts/make_train_goldens.py`): loss, gradients
//! and fifty steps; and against itself with other micro-batches, formats and memory strategies.

mod formats;
mod micro_batches;
mod shards;
mod updates;

use super::trainer::{StepOutcome, Trainer};
use crate::model;
use crate::train::data::dataset::Example;
use crate::train::data::micro_batch::{MicroBatchLimits, pack};
use crate::train::optim::optimizer::OptimizerConfig;
use ewe::finetune::{Formats, LoraSettings, OptimizerKind};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::PathBuf;
use tch::{Device, Kind, Tensor};

#[derive(Deserialize)]
struct Golden {
    settings: GoldenSettings,
    examples: Vec<GoldenExample>,
    full: Record,
    lora: Record,
    dora: Record,
    adafactor: Vec<f64>,
    lion: Vec<f64>,
}

#[derive(Deserialize)]
struct GoldenSettings {
    batch: usize,
    rate: f64,
    decay: f64,
    clip: f64,
    rank: u32,
    alpha: f64,
}

#[derive(Deserialize)]
struct GoldenExample {
    ids: Vec<u32>,
    first_target: usize,
}

#[derive(Deserialize)]
struct Record {
    loss: f64,
    gradients: HashMap<String, Digest>,
    curve: Vec<f64>,
    norms: Vec<f64>,
}

#[derive(Deserialize)]
struct Digest {
    norm: f64,
    sum: f64,
    start: Vec<f64>,
}

const MODELS: [&str; 15] = [
    "gptj",
    "neox_tied",
    "mistral",
    "qwen3",
    "gemma3",
    "gemma3_untied",
    "olmo2",
    "smollm3",
    "phi3",
    "gemma2",
    "granite",
    "stablelm",
    "stablelm_parallel",
    "gpt2",
    "qwen3_moe",
];

fn golden_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn read(name: &str) -> (Golden, Vec<Example>) {
    let text = std::fs::read_to_string(golden_dir().join(format!("train/{name}.json"))).unwrap();
    let golden: Golden = serde_json::from_str(&text).unwrap();
    let example = |(n, of): (usize, &GoldenExample)| {
        Example::with_targets_from(of.first_target, format!("line {n}"), of.ids.clone())
    };
    let examples = golden.examples.iter().enumerate().map(example).collect();
    (golden, examples)
}

/// Which weights are trained.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Trains {
    All,
    Lora,
    Dora,
}

impl Golden {
    fn records(&self) -> [(Trains, &Record); 3] {
        [
            (Trains::All, &self.full),
            (Trains::Lora, &self.lora),
            (Trains::Dora, &self.dora),
        ]
    }
}

fn trainer(name: &str, settings: &GoldenSettings, trains: Trains) -> Trainer {
    let loaded = model::load(&golden_dir().join(name), Device::Cpu, "fp32").unwrap();
    let config = OptimizerConfig {
        weight_decay: settings.decay,
        ..OptimizerConfig::default()
    };
    if trains == Trains::All {
        return Trainer::full(loaded.model, |_| None, config, Device::Cpu);
    }
    let lora = LoraSettings {
        rank: settings.rank,
        alpha: settings.alpha,
        dropout: 0.0,
        dora: trains == Trains::Dora,
        ..LoraSettings::default()
    };
    let mut trainer = Trainer::lora(loaded.model, lora, 0, config, Device::Cpu);
    let _guard = tch::no_grad_guard();
    for of in trainer.trained.iter_mut().filter(|of| of.leaf.dim() == 2) {
        let (rows, columns) = of.leaf.size2().unwrap();
        let value = |at: i64| {
            let (i, j) = (at / columns, at % columns);
            let number = if of.name.contains("lora_A") {
                (i * 7 + j * 3) % 11 - 5
            } else {
                (i * 5 + j * 2) % 7 - 3
            };
            number as f32 / 50.0
        };
        let values: Vec<f32> = (0..rows * columns).map(value).collect();
        of.set(&Tensor::from_slice(&values).view([rows, columns]));
    }
    trainer
}

fn with_config(name: &str, dtype: &str, config: OptimizerConfig) -> Trainer {
    let loaded = model::load(&golden_dir().join(name), Device::Cpu, dtype).unwrap();
    Trainer::full(loaded.model, |_| None, config, Device::Cpu)
}

/// Accumulates the gradients of one step, cut by `limits`. Returns its mean loss.
fn learn(trainer: &mut Trainer, examples: &[Example], members: &[usize], limits: MicroBatchLimits) -> f64 {
    let micro_batches = pack(examples, members, limits);
    let targets: usize = micro_batches
        .iter()
        .map(|micro_batch| micro_batch.target_n.len())
        .sum();
    let last = micro_batches.len() - 1;
    let nll: f64 = micro_batches
        .iter()
        .enumerate()
        .map(|(n, micro_batch)| trainer.forward_backward(micro_batch, targets, n == last, 0))
        .sum();
    nll / targets as f64
}

const WHOLE: MicroBatchLimits = MicroBatchLimits {
    examples: 99,
    positions: 9999,
};

#[test]
fn loss_and_every_gradient_are_the_references() {
    for name in MODELS {
        let (golden, examples) = read(name);
        let all: Vec<usize> = (0..examples.len()).collect();
        for (trains, record) in golden.records() {
            let mut trainer = trainer(name, &golden.settings, trains);
            let loss = learn(&mut trainer, &examples, &all, WHOLE);
            assert!(
                (loss - record.loss).abs() < 1e-5,
                "{name} {trains:?}: loss {loss}, want {}",
                record.loss
            );
            assert_eq!(trainer.trained.len(), record.gradients.len(), "{name} {trains:?}");
            for of in &trainer.trained {
                let want = &record.gradients[&of.name];
                let got = of
                    .gradient()
                    .unwrap_or_else(|| panic!("{} has no gradient", of.name))
                    .flatten(0, -1);
                let near = |what: &str, got: f64, want_value: f64| {
                    let slack = 1e-5 * want.norm.max(1e-3);
                    assert!(
                        (got - want_value).abs() < slack,
                        "{name} {} {what}: {got}, want {want_value}",
                        of.name
                    );
                };
                near("norm", got.norm().double_value(&[]), want.norm);
                near(
                    "sum",
                    got.sum(Kind::Double).double_value(&[]) / 10.0,
                    want.sum / 10.0,
                );
                for (index, &value) in want.start.iter().enumerate() {
                    near("element", got.double_value(&[index as i64]), value);
                }
            }
        }
    }
}

/// With all weights trained, Phi 3's tiny model amplifies rounding: its loss is off by 5e-7 at most
/// up to step 4, by 1e-4 at step 15 and by 4e-4 at step 19, its norm by 0.7 % at step 21.
/// `transformers` itself in fp64 leaves its fp32 curve in the same steps, by up to 6e-4 and 1 %, so
/// later steps are compared less strictly. All other models stay within 2e-5 and 0.04 %.
#[test]
fn fifty_adamw_steps_follow_the_references_curve() {
    for name in MODELS {
        let (golden, examples) = read(name);
        for (trains, record) in golden.records() {
            let settings = &golden.settings;
            let mut trainer = trainer(name, settings, trains);
            for (step, (&want, &want_norm)) in record.curve.iter().zip(&record.norms).enumerate() {
                let (slack, norm_slack) = match trains {
                    Trains::All if step >= 10 => (2e-3, 3e-2),
                    _ => (1e-4, 1e-3),
                };
                let start = step * settings.batch % examples.len();
                let members: Vec<usize> = (start..start + settings.batch).collect();
                let loss = learn(&mut trainer, &examples, &members, WHOLE);
                assert!(
                    (loss - want).abs() < slack,
                    "{name} {trains:?} step {step}: loss {loss}, want {want}"
                );
                let StepOutcome::Updated(norm) = trainer.update(settings.rate, settings.clip, &|_| None)
                else {
                    panic!("{name} step {step}: not finite")
                };
                assert!(
                    (norm - want_norm).abs() < norm_slack * want_norm,
                    "{name} {trains:?} step {step}: {norm} {want_norm}"
                );
            }
            assert!(record.curve.last() < record.curve.first(), "{name} did not learn");
        }
    }
}

/// Trains in fp32 by `optimizer` at a tenth of the goldens' rate and compares each loss: the first
/// ten to within the first part of it in `tolerance`, the others to within the second.
fn follow(optimizer: OptimizerKind, decays: bool, tolerance: [f64; 2], curve: fn(&Golden) -> &[f64]) {
    for name in MODELS {
        let (golden, examples) = read(name);
        let settings = &golden.settings;
        let config = OptimizerConfig {
            formats: Formats {
                optimizer,
                ..Formats::default()
            },
            weight_decay: if decays { settings.decay } else { 0.0 },
            ..OptimizerConfig::default()
        };
        let mut trainer = with_config(name, "fp32", config);
        for (step, &want) in curve(&golden).iter().enumerate() {
            let start = step * settings.batch % examples.len();
            let members: Vec<usize> = (start..start + settings.batch).collect();
            let loss = learn(&mut trainer, &examples, &members, WHOLE);
            assert!(
                (loss - want).abs() < tolerance[usize::from(step >= 10)] * want.max(1.0),
                "{name} {optimizer:?} step {step}: {loss} {want}"
            );
            trainer.update(settings.rate / 10.0, settings.clip, &|_| None);
        }
    }
}

#[test]
fn fifty_adafactor_steps_follow_the_references_curve() {
    // SmolLM 3's tiny model amplifies rounding: its curve is 5e-7 off after 10 steps, 2e-4 after
    // 20, and that of `transformers` itself in fp64 is 5e-4 off its fp32 curve in the same steps.
    follow(OptimizerKind::Adafactor, false, [1e-4, 2e-3], |golden| {
        &golden.adafactor
    });
}

#[test]
fn lion_s_steps_follow_the_papers_algorithm() {
    // A step is the sign of a sum: where rounding takes it across zero, the weight goes the other
    // way, and the curves drift apart. Qwen 3's is 0.01 % off after 12 steps, 0.3 % after 22.
    follow(OptimizerKind::Lion, true, [2e-3, 5e-2], |golden| &golden.lion);
}
