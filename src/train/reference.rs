//! The trainer against `transformers` and `peft` (`scripts/make_train_goldens.py`): loss, gradients,
//! fifty steps; and against itself, where memory or time is saved.

mod formats;
mod pieces;
mod updates;

use super::trainer::{Trainer, Update};
use crate::model;
use crate::train::data::dataset::Example;
use crate::train::data::micro_batch::{MicroBatchLimits, pack};
use crate::train::optim::lora::LoraSettings;
use crate::train::optim::optimizer::Rule;
use ewe::cli::models::train::OptimizerKind;
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

const MODELS: [&str; 6] = ["gptj", "neox_tied", "mistral", "qwen3", "gemma3", "gemma3_untied"];

fn golden_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn read(name: &str) -> (Golden, Vec<Example>) {
    let text = std::fs::read_to_string(golden_dir().join(format!("train/{name}.json"))).unwrap();
    let golden: Golden = serde_json::from_str(&text).unwrap();
    let example = |(n, of): (usize, &GoldenExample)| {
        Example::learnt_from(of.first_target, format!("line {n}"), of.ids.clone())
    };
    let examples = golden.examples.iter().enumerate().map(example).collect();
    (golden, examples)
}

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Of {
    All,
    Lora,
    Dora,
}

impl Golden {
    fn records(&self) -> [(Of, &Record); 3] {
        [
            (Of::All, &self.full),
            (Of::Lora, &self.lora),
            (Of::Dora, &self.dora),
        ]
    }
}

fn trainer(name: &str, settings: &GoldenSettings, trains: Of) -> Trainer {
    let loaded = model::load(&golden_dir().join(name), Device::Cpu, "fp32").unwrap();
    let rule = Rule {
        weight_decay: settings.decay,
        ..Rule::default()
    };
    if trains == Of::All {
        return Trainer::full(loaded.model, |_| None, rule, Device::Cpu);
    }
    let lora = LoraSettings {
        rank: settings.rank,
        alpha: settings.alpha,
        dropout: 0.0,
        dora: trains == Of::Dora,
        ..LoraSettings::default()
    };
    let mut trainer = Trainer::lora(loaded.model, lora, 0, rule, Device::Cpu);
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

fn with_rule(name: &str, dtype: &str, rule: Rule) -> Trainer {
    let loaded = model::load(&golden_dir().join(name), Device::Cpu, dtype).unwrap();
    Trainer::full(loaded.model, |_| None, rule, Device::Cpu)
}

/// One step's gradients, cut by `limits`; its mean loss.
fn learn(trainer: &mut Trainer, examples: &[Example], members: &[usize], limits: MicroBatchLimits) -> f64 {
    let pieces = pack(examples, members, limits);
    let targets: usize = pieces.iter().map(|piece| piece.target_n.len()).sum();
    let last = pieces.len() - 1;
    let nll: f64 = pieces
        .iter()
        .enumerate()
        .map(|(n, piece)| trainer.learn(piece, targets, n == last, 0))
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

#[test]
fn fifty_adamw_steps_follow_the_references_curve() {
    for name in MODELS {
        let (golden, examples) = read(name);
        for (trains, record) in golden.records() {
            let settings = &golden.settings;
            let mut trainer = trainer(name, settings, trains);
            for (step, (&want, &want_norm)) in record.curve.iter().zip(&record.norms).enumerate() {
                let start = step * settings.batch % examples.len();
                let members: Vec<usize> = (start..start + settings.batch).collect();
                let loss = learn(&mut trainer, &examples, &members, WHOLE);
                assert!(
                    (loss - want).abs() < 1e-4,
                    "{name} {trains:?} step {step}: loss {loss}, want {want}"
                );
                let Update::Done(norm) = trainer.update(settings.rate, settings.clip, &|_| None) else {
                    panic!("{name} step {step}: not finite")
                };
                assert!(
                    (norm - want_norm).abs() < 1e-3 * want_norm,
                    "{name} {trains:?} step {step}: {norm} {want_norm}"
                );
            }
            assert!(
                record.curve.last() < record.curve.first(),
                "{name} learnt nothing"
            );
        }
    }
}

#[test]
fn fifty_adafactor_steps_follow_the_references_curve() {
    for name in MODELS {
        let (golden, examples) = read(name);
        let settings = &golden.settings;
        let rule = Rule {
            optimizer: OptimizerKind::Adafactor,
            ..Rule::default()
        };
        let mut trainer = with_rule(name, "fp32", rule);
        for (step, &want) in golden.adafactor.iter().enumerate() {
            let start = step * settings.batch % examples.len();
            let members: Vec<usize> = (start..start + settings.batch).collect();
            let loss = learn(&mut trainer, &examples, &members, WHOLE);
            assert!(
                (loss - want).abs() < 1e-4 * want.max(1.0),
                "{name} step {step}: {loss} {want}"
            );
            trainer.update(settings.rate / 10.0, settings.clip, &|_| None);
        }
    }
}
