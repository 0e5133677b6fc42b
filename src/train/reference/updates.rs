//! Updates in backward, offloaded updates and restored weights against plain ones.

use std::collections::HashMap;

use ewe::finetune::{Formats, Master, OptimizerKind};
use tch::Tensor;

use super::{MODELS, Trains, WHOLE, learn, read, trainer, with_config};
use crate::train::data::micro_batch::{MicroBatchLimits, pack};
use crate::train::guard::Guard;
use crate::train::optim::optimizer::OptimizerConfig;
use crate::train::trainer::{StepOutcome, Trainer};

#[test]
fn a_restored_trainer_goes_on_bit_for_bit() {
    let (golden, examples) = read("gptj");
    let members = [0, 1, 2, 3];
    let finish = |mut trainer: Trainer| {
        learn(&mut trainer, &examples, &members, WHOLE);
        trainer.update(0.01, 1.0, &|_| None);
        trainer.trained
    };
    let mut first = trainer("gptj", &golden.settings, Trains::Lora);
    learn(&mut first, &examples, &members, WHOLE);
    first.update(0.01, 1.0, &|_| None);
    let mut saved: HashMap<String, Tensor> = first
        .state()
        .into_iter()
        .map(|(name, tensor)| (name, tensor.copy()))
        .collect();
    let mut second = trainer("gptj", &golden.settings, Trains::Lora);
    second.restore(&mut |name| saved.remove(name)).unwrap();
    for (a, b) in finish(first).iter().zip(&finish(second)) {
        assert_eq!(a.values(), b.values(), "{}", a.name);
    }
}

/// Updates in backward give the weights of updates after it, with and without clipping, with a tied
/// head and without, with one micro-batch and with several.
#[test]
fn updates_within_the_backward_pass_are_those_after_it() {
    for name in MODELS {
        let (_, examples) = read(name);
        let all: Vec<usize> = (0..examples.len()).collect();
        for (clip, rows) in [(0.0, 99), (0.5, 99), (0.5, 3)] {
            let limits = MicroBatchLimits {
                examples: rows,
                positions: 9999,
            };
            let micro_batches = pack(&examples, &all, limits);
            let targets: usize = micro_batches
                .iter()
                .map(|micro_batch| micro_batch.target_n.len())
                .sum();
            let seeded: Vec<_> = micro_batches.iter().map(|micro_batch| (micro_batch, 0)).collect();
            let (mut after, mut within) = (
                with_config(name, "fp32", OptimizerConfig::default()),
                with_config(name, "fp32", OptimizerConfig::default()),
            );
            for _ in 0..3 {
                let loss = learn(&mut after, &examples, &all, limits);
                let StepOutcome::Updated(norm) = after.update(1e-2, clip, &|_| None) else {
                    panic!("{name}")
                };
                let (nll, update) =
                    within.update_in_backward_pass(&seeded, targets, 1e-2, clip, &|_, _| None);
                let StepOutcome::Updated(norm_within) = update else {
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
                // Gradients of several micro-batches are summed in another order; of one there is
                // no sum.
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

/// Offloaded updates give the weights of updates in place, in every format, after the backward pass
/// and within it; so do restored weights.
#[test]
fn offloaded_weights_are_those_moved_in_place() {
    let (_, examples) = read("gptj");
    let all: Vec<usize> = (0..examples.len()).collect();
    let micro_batches = pack(&examples, &all, WHOLE);
    let targets = micro_batches[0].target_n.len();
    for (dtype, master) in [
        ("fp32", Master::Split),
        ("bf16", Master::Split),
        ("bf16", Master::Fp32),
        ("bf16", Master::Stochastic),
    ] {
        for (optimizer, within) in [
            (OptimizerKind::Adamw, false),
            (OptimizerKind::Lion, false),
            (OptimizerKind::Adafactor, true),
        ] {
            let run = |offload: bool| {
                let mut config = OptimizerConfig {
                    formats: Formats {
                        optimizer,
                        master,
                        offload,
                        ..Formats::default()
                    },
                    ..OptimizerConfig::default()
                };
                let mut trainer = with_config("gptj", dtype, config);
                let mut state: HashMap<String, Tensor> = HashMap::new();
                for step in 0..3 {
                    if within {
                        trainer.update_in_backward_pass(
                            &[(&micro_batches[0], 0)],
                            targets,
                            1e-2,
                            0.5,
                            &|_, _| None,
                        );
                    } else {
                        learn(&mut trainer, &examples, &all, WHOLE);
                        trainer.update(1e-2, 0.5, &|_| None);
                    }
                    if step == 1 {
                        // What one saves the other continues with.
                        state.extend(trainer.state().into_iter().map(|(name, x)| (name, x.copy())));
                        config.formats.offload = !offload;
                        trainer = with_config("gptj", dtype, config);
                        trainer.restore(&mut |name| state.remove(name)).unwrap();
                    }
                }
                trainer
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
    let micro_batches = pack(&examples, &[0, 1], WHOLE);
    let why = "the gradient is not finite".to_owned();
    let guard = Guard::new(0.0, &[]);
    let refuses = |nll: f64, norm: Option<f64>| guard.refuses(1, nll, norm);
    for (clip, want) in [(1.0, StepOutcome::Refused(why)), (0.0, StepOutcome::Partial)] {
        let mut trainer = with_config("gptj", "fp32", OptimizerConfig::default());
        // Only the gradient of the first block's scale is infinite, because its input is.
        let of = trainer
            .trained
            .iter()
            .find(|of| of.name == "transformer.h.0.ln_1.weight")
            .unwrap();
        of.set(&(of.values() * 1e-30));
        let of = trainer
            .trained
            .iter()
            .find(|of| of.name == "transformer.h.0.attn.q_proj.weight")
            .unwrap();
        of.set(&(of.values() * 1e38));
        let before: Vec<Tensor> = trainer.trained.iter().map(|of| of.values().copy()).collect();
        let (nll, update) =
            trainer.update_in_backward_pass(&[(&micro_batches[0], 0)], 10, 1e-2, clip, &refuses);
        assert!(nll.is_finite());
        assert_eq!(update, want);
        let same = before.iter().zip(&trainer.trained).all(|(a, b)| *a == b.values());
        assert_eq!(same, want != StepOutcome::Partial);
    }
}
