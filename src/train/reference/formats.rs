//! The trainer in more compact formats against itself in fp32.

use ewe::finetune::{Formats, Master, OptimizerKind};
use tch::Device;

use super::{WHOLE, golden_dir, learn, read, with_config};
use crate::model;
use crate::train::data::micro_batch::MicroBatchLimits;
use crate::train::optim::optimizer::OptimizerConfig;
use crate::train::trainer::Trainer;

/// Two hundred steps on a tiny model: the loss does not show what moments or weights lose by their
/// format.
#[test]
fn losses_do_not_depend_on_formats() {
    for name in ["gptj", "gemma3"] {
        let (_, examples) = read(name);
        let all: Vec<usize> = (0..examples.len()).collect();
        let last = |optimizer, master| {
            let config = OptimizerConfig {
                formats: Formats {
                    optimizer,
                    master,
                    ..Formats::default()
                },
                ..OptimizerConfig::default()
            };
            let mut trainer = with_config(name, "bf16", config);
            let mut losses = Vec::new();
            for _ in 0..200 {
                losses.push(learn(&mut trainer, &examples, &all, WHOLE));
                trainer.update(1e-4, 1.0, &|_| None);
            }
            (losses[0], losses[199])
        };
        let (first, want) = last(OptimizerKind::Adamw, Master::Fp32);
        assert!(want < 0.9 * first, "{name} did not learn: {first} {want}");
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

#[test]
fn bf16_with_masters_stays_near_fp32() {
    let (golden, examples) = read("gemma3");
    let all: Vec<usize> = (0..examples.len()).collect();
    let mut losses = Vec::new();
    for dtype in ["fp32", "bf16"] {
        let loaded = model::load(&golden_dir().join("gemma3"), Device::Cpu, dtype).unwrap();
        let mut trainer = Trainer::full(loaded.model, |_| None, OptimizerConfig::default(), Device::Cpu);
        let mut loss = 0.0;
        for _ in 0..20 {
            loss = learn(
                &mut trainer,
                &examples,
                &all,
                MicroBatchLimits {
                    examples: 3,
                    positions: 9999,
                },
            );
            trainer.update(3e-3, golden.settings.clip, &|_| None);
        }
        losses.push(loss);
    }
    assert!((losses[0] - losses[1]).abs() < 0.02 * losses[0], "{losses:?}");
}
