//! The learner against `transformers` and `peft` (`scripts/make_train_goldens.py`): loss, gradients, fifty steps.

use super::batch::{PieceLimits, pack};
use super::dataset::Example;
use super::guard::Guard;
use super::learner::{Learner, Update};
use super::lora::LoraSettings;
use super::optimizer::Rule;
use crate::model;
use ewe::cli::train::{Master, OptimizerKind};
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

fn learner(name: &str, settings: &GoldenSettings, trains: Of) -> Learner {
    let loaded = model::load(&golden_dir().join(name), Device::Cpu, "fp32").unwrap();
    let rule = Rule {
        weight_decay: settings.decay,
        ..Rule::default()
    };
    if trains == Of::All {
        return Learner::full(loaded.model, |_| None, rule, Device::Cpu);
    }
    let lora = LoraSettings {
        rank: settings.rank,
        alpha: settings.alpha,
        dropout: 0.0,
        dora: trains == Of::Dora,
        ..LoraSettings::default()
    };
    let mut learner = Learner::lora(loaded.model, lora, 0, rule, Device::Cpu);
    let _guard = tch::no_grad_guard();
    for of in learner.trained.iter_mut().filter(|of| of.leaf.dim() == 2) {
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
        for (trains, record) in golden.records() {
            let mut learner = learner(name, &golden.settings, trains);
            let loss = learn(&mut learner, &examples, &all, WHOLE);
            assert!(
                (loss - record.loss).abs() < 1e-5,
                "{name} {trains:?}: loss {loss}, want {}",
                record.loss
            );
            assert_eq!(learner.trained.len(), record.gradients.len(), "{name} {trains:?}");
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
fn fifty_adamw_steps_follow_the_references_curve() {
    for name in MODELS {
        let (golden, examples) = read(name);
        for (trains, record) in golden.records() {
            let settings = &golden.settings;
            let mut learner = learner(name, settings, trains);
            for (step, (&want, &want_norm)) in record.curve.iter().zip(&record.norms).enumerate() {
                let start = step * settings.batch % examples.len();
                let members: Vec<usize> = (start..start + settings.batch).collect();
                let loss = learn(&mut learner, &examples, &members, WHOLE);
                assert!(
                    (loss - want).abs() < 1e-4,
                    "{name} {trains:?} step {step}: loss {loss}, want {want}"
                );
                let Update::Done(norm) = learner.update(settings.rate, settings.clip, &|_| None) else {
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
        let mut learner = with_rule(name, "fp32", rule);
        for (step, &want) in golden.adafactor.iter().enumerate() {
            let start = step * settings.batch % examples.len();
            let members: Vec<usize> = (start..start + settings.batch).collect();
            let loss = learn(&mut learner, &examples, &members, WHOLE);
            assert!(
                (loss - want).abs() < 1e-4 * want.max(1.0),
                "{name} step {step}: {loss} {want}"
            );
            learner.update(settings.rate / 10.0, settings.clip, &|_| None);
        }
    }
}

/// Two hundred steps on a tiny model: what moments or weights lose by their format does not show in the loss.
#[test]
fn losses_do_not_depend_on_formats() {
    for name in ["gptj", "gemma3"] {
        let (_, examples) = read(name);
        let all: Vec<usize> = (0..examples.len()).collect();
        let last = |optimizer, master| {
            let rule = Rule {
                optimizer,
                master,
                ..Rule::default()
            };
            let mut learner = with_rule(name, "bf16", rule);
            let mut losses = Vec::new();
            for _ in 0..200 {
                losses.push(learn(&mut learner, &examples, &all, WHOLE));
                learner.update(1e-4, 1.0, &|_| None);
            }
            (losses[0], losses[199])
        };
        let (first, want) = last(OptimizerKind::Adamw, Master::Fp32);
        assert!(want < 0.9 * first, "{name} learnt nothing: {first} {want}");
        for (optimizer, master, limit) in [
            (OptimizerKind::Adamw, Master::Split, 0.0),
            (OptimizerKind::Adamw8bit, Master::Split, 0.01),
            (OptimizerKind::Adamw8bit, Master::Stochastic, 0.02),
        ] {
            let (_, got) = last(optimizer, master);
            let apart = (got - want).abs() / want;
            println!("{name} {optimizer:?} {master:?}: {first:.4} to {got:.4}, fp32 {want:.4}: {apart:.2e}");
            assert!(apart <= limit, "{name} {optimizer:?} {master:?}: {got} {want}");
        }
    }
}

/// All begin with the same tokens, and neighbours with more of them.
fn begin_alike(examples: &mut [Example]) {
    let longest = examples.iter().max_by_key(|example| example.ids.len());
    let first = longest.expect("examples").clone();
    for (index, example) in examples.iter_mut().enumerate() {
        let alike = (if index % 2 == 0 { 5 } else { 9 }).min(example.positions());
        example.ids[..alike].copy_from_slice(&first.ids[..alike]);
        example.learnt[0].start = example.learnt[0].start.min(4);
    }
    let all: Vec<usize> = (0..examples.len()).collect();
    let piece = &pack(examples, &all, WHOLE)[0];
    let alone: usize = examples.iter().map(Example::positions).sum();
    assert!(piece.branches.len() > examples.len() && piece.id_t.len() + 20 < alone);
}

#[test]
fn gradients_do_not_depend_on_how_a_step_is_cut() {
    let cuts = [(8, 9999), (1, 9999), (3, 9999), (8, 40)];
    for (name, alike) in MODELS.iter().flat_map(|name| [(name, false), (name, true)]) {
        let (golden, mut examples) = read(name);
        if alike {
            begin_alike(&mut examples);
        }
        let all: Vec<usize> = (0..examples.len()).collect();
        for trains in [Of::All, Of::Lora, Of::Dora] {
            let mut first: Option<(f64, Vec<Tensor>)> = None;
            for (rows, positions) in cuts {
                let mut learner = learner(name, &golden.settings, trains);
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
                    let largest = b.abs().max().double_value(&[]);
                    assert!(
                        apart < 1e-6 * largest.max(1.0),
                        "{name} {trains:?}, alike {alike}, pieces of {rows} and {positions}: {apart} of {largest}"
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
        ..LoraSettings::default()
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
                    Learner::lora(model, settings.clone(), 3, Rule::default(), Device::Cpu)
                } else {
                    Learner::full(model, |_| None, Rule::default(), Device::Cpu)
                };
                learner.recomputes = recomputes;
                // Once so that the adapter's second factor is no longer zero, which would hide the first one's gradient.
                learn(&mut learner, &examples, &all, WHOLE);
                learner.update(1e-2, 0.0, &|_| None);
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
        let mut learner = Learner::full(loaded.model, |_| None, Rule::default(), Device::Cpu);
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
            learner.update(3e-3, golden.settings.clip, &|_| None);
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
        learner.update(0.01, 1.0, &|_| None);
        learner.trained
    };
    let mut first = learner("gptj", &golden.settings, Of::Lora);
    learn(&mut first, &examples, &members, WHOLE);
    first.update(0.01, 1.0, &|_| None);
    let mut saved: HashMap<String, Tensor> = first
        .state()
        .into_iter()
        .map(|(name, tensor)| (name, tensor.copy()))
        .collect();
    let mut second = learner("gptj", &golden.settings, Of::Lora);
    second.restore(&mut |name| saved.remove(name)).unwrap();
    for (a, b) in finish(first).iter().zip(&finish(second)) {
        assert_eq!(a.values(), b.values(), "{}", a.name);
    }
}

fn with_rule(name: &str, dtype: &str, rule: Rule) -> Learner {
    let loaded = model::load(&golden_dir().join(name), Device::Cpu, dtype).unwrap();
    Learner::full(loaded.model, |_| None, rule, Device::Cpu)
}

/// Updates that move a block's weights at once end where those of a whole record do, clipped or not, with a head that is the
/// embedding or is not, in one piece or in several.
#[test]
fn updates_within_the_backward_pass_are_those_after_it() {
    for name in MODELS {
        let (_, examples) = read(name);
        let all: Vec<usize> = (0..examples.len()).collect();
        for (clip, rows) in [(0.0, 99), (0.5, 99), (0.5, 3)] {
            let limits = PieceLimits {
                examples: rows,
                positions: 9999,
            };
            let pieces = pack(&examples, &all, limits);
            let targets: usize = pieces.iter().map(|piece| piece.target_n.len()).sum();
            let seeded: Vec<_> = pieces.iter().map(|piece| (piece, 0)).collect();
            let (mut after, mut within) = (
                with_rule(name, "fp32", Rule::default()),
                with_rule(name, "fp32", Rule::default()),
            );
            for _ in 0..3 {
                let loss = learn(&mut after, &examples, &all, limits);
                let Update::Done(norm) = after.update(1e-2, clip, &|_| None) else {
                    panic!("{name}")
                };
                let (nll, update) = within.learn_and_update(&seeded, targets, 1e-2, clip, &|_, _| None);
                let Update::Done(norm_within) = update else {
                    panic!("{name} {update:?}")
                };
                assert!((loss - nll / targets as f64).abs() < 1e-6 * loss, "{name}");
                assert!(
                    (norm - norm_within).abs() < 1e-5 * norm,
                    "{name} {norm} {norm_within}"
                );
            }
            for (a, b) in after.trained.iter().zip(&within.trained) {
                let apart = (a.values() - b.values()).abs().max().double_value(&[]);
                // Sums of several pieces' gradients are in another order; in one piece there is one.
                let limit = if rows == 99 { 0.0 } else { 2e-4 };
                assert!(
                    apart <= limit,
                    "{name} {} clip {clip}, {rows} rows: {apart:e}",
                    a.name
                );
                assert!(b.gradient().is_none(), "{name} {}", b.name);
            }
        }
    }
}

/// Moved in a copy, weights end where they do in place, in every format, after the backward pass and within it; so do restored ones.
#[test]
fn offloaded_weights_are_those_moved_in_place() {
    let (_, examples) = read("gptj");
    let all: Vec<usize> = (0..examples.len()).collect();
    let pieces = pack(&examples, &all, WHOLE);
    let targets = pieces[0].target_n.len();
    for (dtype, master) in [
        ("fp32", Master::Split),
        ("bf16", Master::Split),
        ("bf16", Master::Fp32),
        ("bf16", Master::Stochastic),
    ] {
        for (optimizer, within) in [(OptimizerKind::Adamw, false), (OptimizerKind::Adafactor, true)] {
            let run = |offload: bool| {
                let rule = Rule {
                    optimizer,
                    master,
                    offload,
                    ..Rule::default()
                };
                let mut learner = with_rule("gptj", dtype, rule);
                let mut state: HashMap<String, Tensor> = HashMap::new();
                for step in 0..3 {
                    if within {
                        learner.learn_and_update(&[(&pieces[0], 0)], targets, 1e-2, 0.5, &|_, _| None);
                    } else {
                        learn(&mut learner, &examples, &all, WHOLE);
                        learner.update(1e-2, 0.5, &|_| None);
                    }
                    if step == 1 {
                        // What is saved with one is what the other goes on with.
                        state.extend(learner.state().into_iter().map(|(name, x)| (name, x.copy())));
                        let rule = Rule {
                            offload: !offload,
                            ..rule
                        };
                        learner = with_rule("gptj", dtype, rule);
                        learner.restore(&mut |name| state.remove(name)).unwrap();
                    }
                }
                learner
            };
            let (in_place, offloaded) = (run(false), run(true));
            for (a, b) in in_place.trained.iter().zip(&offloaded.trained) {
                assert_eq!(
                    a.values(),
                    b.values(),
                    "{dtype} {master:?} {optimizer:?}: {}",
                    a.name
                );
                assert_eq!(a.leaf, b.leaf, "{dtype} {master:?} {optimizer:?}: {}", a.name);
            }
        }
    }
}

#[test]
fn what_is_not_finite_moves_nothing_or_says_that_it_did() {
    let (_, examples) = read("gptj");
    let pieces = pack(&examples, &[0, 1], WHOLE);
    let why = "the gradient is not finite".to_owned();
    let guard = Guard::new(0.0, &[]);
    let refuses = |nll: f64, norm: Option<f64>| guard.refuses(nll, norm);
    for (clip, want) in [(1.0, Update::Refused(why)), (0.0, Update::Torn)] {
        let mut learner = with_rule("gptj", "fp32", Rule::default());
        // The gradient of the first block's scale is infinite and nothing else, for what it scales is.
        let of = learner
            .trained
            .iter()
            .find(|of| of.name == "transformer.h.0.ln_1.weight")
            .unwrap();
        of.set(&(of.values() * 1e-30));
        let of = learner
            .trained
            .iter()
            .find(|of| of.name == "transformer.h.0.attn.q_proj.weight")
            .unwrap();
        of.set(&(of.values() * 1e38));
        let before: Vec<Tensor> = learner.trained.iter().map(|of| of.values().copy()).collect();
        let (nll, update) = learner.learn_and_update(&[(&pieces[0], 0)], 10, 1e-2, clip, &refuses);
        assert!(nll.is_finite());
        assert_eq!(update, want);
        let same = before.iter().zip(&learner.trained).all(|(a, b)| *a == b.values());
        assert_eq!(same, want != Update::Torn);
    }
}
