//! The learner against `transformers` and `peft` (`scripts/make_train_goldens.py`): loss, gradients, thirty steps.

use super::batch::{PieceLimits, pack};
use super::dataset::Example;
use super::learner::{Learner, Update};
use super::lora::LoraSettings;
use crate::model;
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
    let example = |(n, of): (usize, &GoldenExample)| Example {
        id: format!("line {n}"),
        ids: of.ids.clone(),
        first_target: of.first_target,
    };
    let examples = golden.examples.iter().enumerate().map(example).collect();
    (golden, examples)
}

fn learner(name: &str, settings: &GoldenSettings, lora: bool) -> Learner {
    let loaded = model::load(&golden_dir().join(name), Device::Cpu, "fp32").unwrap();
    if !lora {
        return Learner::full(loaded.model, |_| None, settings.decay, Device::Cpu);
    }
    let lora = LoraSettings {
        rank: settings.rank,
        alpha: settings.alpha,
        dropout: 0.0,
    };
    let mut learner = Learner::lora(loaded.model, lora, 0, settings.decay, Device::Cpu);
    let _guard = tch::no_grad_guard();
    for of in &mut learner.trained {
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
        of.master
            .copy_(&Tensor::from_slice(&values).view([rows, columns]));
    }
    learner
}

/// One step's gradients, cut by `limits`; its mean loss.
fn learn(learner: &mut Learner, examples: &[Example], members: &[usize], limits: PieceLimits) -> f64 {
    let pieces = pack(examples, members, limits);
    let targets: usize = pieces.iter().map(|piece| piece.target_n.len()).sum();
    let last = pieces.len() - 1;
    let nll: f64 = pieces
        .iter()
        .enumerate()
        .map(|(n, piece)| learner.learn(piece, targets, n == last, 0))
        .sum();
    nll / targets as f64
}

const WHOLE: PieceLimits = PieceLimits {
    examples: 99,
    positions: 9999,
};

#[test]
fn loss_and_every_gradient_are_the_references() {
    for name in MODELS {
        let (golden, examples) = read(name);
        let all: Vec<usize> = (0..examples.len()).collect();
        for (lora, record) in [(false, &golden.full), (true, &golden.lora)] {
            let mut learner = learner(name, &golden.settings, lora);
            let loss = learn(&mut learner, &examples, &all, WHOLE);
            assert!(
                (loss - record.loss).abs() < 1e-5,
                "{name} lora {lora}: loss {loss}, want {}",
                record.loss
            );
            assert_eq!(
                learner.trained.len(),
                record.gradients.len(),
                "{name} lora {lora}"
            );
            for of in &learner.trained {
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
fn thirty_adamw_steps_follow_the_references_curve() {
    for name in MODELS {
        let (golden, examples) = read(name);
        for (lora, record) in [(false, &golden.full), (true, &golden.lora)] {
            let settings = &golden.settings;
            let mut learner = learner(name, settings, lora);
            for (step, (&want, &want_norm)) in record.curve.iter().zip(&record.norms).enumerate() {
                let start = step * settings.batch % examples.len();
                let members: Vec<usize> = (start..start + settings.batch).collect();
                let loss = learn(&mut learner, &examples, &members, WHOLE);
                assert!(
                    (loss - want).abs() < 1e-4,
                    "{name} lora {lora} step {step}: loss {loss}, want {want}"
                );
                let Update::Done(norm) = learner.update(settings.rate, settings.clip) else {
                    panic!("{name} step {step}: not finite")
                };
                assert!(
                    (norm - want_norm).abs() < 1e-3 * want_norm,
                    "{name} lora {lora} step {step}: {norm} {want_norm}"
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
fn gradients_do_not_depend_on_how_a_step_is_cut() {
    let cuts = [(8, 9999), (1, 9999), (3, 9999), (8, 40)];
    for name in MODELS {
        let (golden, examples) = read(name);
        let all: Vec<usize> = (0..examples.len()).collect();
        for lora in [false, true] {
            let mut first: Option<(f64, Vec<Tensor>)> = None;
            for (rows, positions) in cuts {
                let mut learner = learner(name, &golden.settings, lora);
                let loss = learn(
                    &mut learner,
                    &examples,
                    &all,
                    PieceLimits {
                        examples: rows,
                        positions,
                    },
                );
                let gradients: Vec<Tensor> = learner
                    .trained
                    .iter()
                    .map(|of| of.gradient().unwrap().copy())
                    .collect();
                let Some((first_loss, first_gradients)) = &first else {
                    first = Some((loss, gradients));
                    continue;
                };
                assert!((loss - first_loss).abs() < 1e-6);
                for (a, b) in gradients.iter().zip(first_gradients) {
                    let apart = (a - b).abs().max().double_value(&[]);
                    assert!(
                        apart < 1e-6,
                        "{name} lora {lora}, pieces of {rows} and {positions}: {apart}"
                    );
                }
            }
        }
    }
}

#[test]
fn blocks_computed_again_have_the_same_gradients_to_the_last_bit() {
    let settings = LoraSettings {
        rank: 4,
        alpha: 8.0,
        dropout: 0.2,
    };
    for name in MODELS {
        let (_, examples) = read(name);
        let all: Vec<usize> = (0..examples.len()).collect();
        for (dtype, lora) in [("fp32", false), ("fp32", true), ("bf16", false), ("bf16", true)] {
            let gradients = |recomputes: bool| -> (f64, Vec<Tensor>) {
                let model = model::load(&golden_dir().join(name), Device::Cpu, dtype)
                    .unwrap()
                    .model;
                let mut learner = if lora {
                    Learner::lora(model, settings, 3, 0.0, Device::Cpu)
                } else {
                    Learner::full(model, |_| None, 0.0, Device::Cpu)
                };
                learner.recomputes = recomputes;
                // Once so that the adapter's second factor is no longer zero, which would hide the first one's gradient.
                learn(&mut learner, &examples, &all, WHOLE);
                learner.update(1e-2, 0.0);
                let loss = learn(&mut learner, &examples, &all, WHOLE);
                let of_all = learner.trained.iter().map(|of| of.gradient().unwrap().copy());
                (loss, of_all.collect())
            };
            let (plain, again) = (gradients(false), gradients(true));
            assert_eq!(plain.0, again.0, "{name} {dtype} lora {lora}");
            for (a, b) in plain.1.iter().zip(&again.1) {
                assert!(
                    a.abs().max().double_value(&[]) > 0.0,
                    "{name} {dtype} lora {lora}"
                );
                assert_eq!(a, b, "{name} {dtype} lora {lora}");
            }
        }
    }
}

#[test]
fn bf16_with_masters_stays_near_fp32() {
    let (golden, examples) = read("gemma3");
    let all: Vec<usize> = (0..examples.len()).collect();
    let mut losses = Vec::new();
    for dtype in ["fp32", "bf16"] {
        let loaded = model::load(&golden_dir().join("gemma3"), Device::Cpu, dtype).unwrap();
        let mut learner = Learner::full(loaded.model, |_| None, 0.0, Device::Cpu);
        let mut loss = 0.0;
        for _ in 0..20 {
            loss = learn(
                &mut learner,
                &examples,
                &all,
                PieceLimits {
                    examples: 3,
                    positions: 9999,
                },
            );
            learner.update(3e-3, golden.settings.clip);
        }
        losses.push(loss);
    }
    assert!((losses[0] - losses[1]).abs() < 0.02 * losses[0], "{losses:?}");
}

#[test]
fn a_restored_learner_goes_on_bit_for_bit() {
    let (golden, examples) = read("gptj");
    let members = [0, 1, 2, 3];
    let finish = |mut learner: Learner| {
        learn(&mut learner, &examples, &members, WHOLE);
        learner.update(0.01, 1.0);
        learner.trained
    };
    let mut first = learner("gptj", &golden.settings, true);
    learn(&mut first, &examples, &members, WHOLE);
    first.update(0.01, 1.0);
    let mut saved: HashMap<String, Tensor> = first
        .state()
        .into_iter()
        .map(|(name, tensor)| (name, tensor.copy()))
        .collect();
    let mut second = learner("gptj", &golden.settings, true);
    second.restore(&mut |name| saved.remove(name)).unwrap();
    for (a, b) in finish(first).iter().zip(&finish(second)) {
        assert_eq!(a.master, b.master, "{}", a.name);
    }
}
