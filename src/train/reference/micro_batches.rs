//! Gradients do not depend on how a step is cut, or on recomputing.

use tch::{Device, Tensor};

use super::{MODELS, Trains, WHOLE, golden_dir, learn, read, trainer};
use crate::model;
use crate::train::data::dataset::Example;
use crate::train::data::micro_batch::{MicroBatchLimits, pack};
use crate::train::inputs::Rounding;
use crate::train::optim::optimizer::OptimizerConfig;
use crate::train::trainer::Trainer;
use ewe::finetune::LoraSettings;

/// Gives all examples a shared prefix, and neighbors a longer one.
fn begin_alike(examples: &mut [Example]) {
    let longest = examples.iter().max_by_key(|example| example.ids.len());
    let first = longest.expect("examples").clone();
    for (index, example) in examples.iter_mut().enumerate() {
        let alike = (if index % 2 == 0 { 5 } else { 9 }).min(example.positions());
        example.ids[..alike].copy_from_slice(&first.ids[..alike]);
        example.targets[0].start = example.targets[0].start.min(4);
    }
    let all: Vec<usize> = (0..examples.len()).collect();
    let micro_batch = &pack(examples, &all, WHOLE)[0];
    let alone: usize = examples.iter().map(Example::positions).sum();
    assert!(micro_batch.nodes.len() > examples.len() && micro_batch.id_t.len() + 20 < alone);
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
        for trains in [Trains::All, Trains::Lora, Trains::Dora] {
            let mut first: Option<(f64, Vec<Tensor>)> = None;
            for (rows, positions) in cuts {
                let mut trainer = trainer(name, &golden.settings, trains);
                let loss = learn(
                    &mut trainer,
                    &examples,
                    &all,
                    MicroBatchLimits {
                        examples: rows,
                        positions,
                    },
                );
                let gradients: Vec<Tensor> = trainer
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
                        "{name} {trains:?}, alike {alike}, micro-batches of {rows} and {positions}: {apart} of {largest}"
                    );
                }
            }
        }
    }
}

#[test]
fn sizes_that_are_filled_up_change_nothing() {
    let settings = LoraSettings {
        rank: 4,
        alpha: 8.0,
        ..LoraSettings::default()
    };
    for name in MODELS {
        let (golden, mut examples) = read(name);
        begin_alike(&mut examples);
        let all: Vec<usize> = (0..examples.len()).collect();
        let tokens = pack(&examples, &all, WHOLE)[0].id_t.len();
        // One token is added, then many more than there are.
        for multiple in [tokens + 1, 1024] {
            for lora in [false, true] {
                let gradients = |rounding: Option<Rounding>, recompute: bool| -> (f64, f64, Vec<Tensor>) {
                    let mut trainer = match lora {
                        true => {
                            let model = model::load(&golden_dir().join(name), Device::Cpu, "fp32")
                                .unwrap()
                                .model;
                            Trainer::lora(
                                model,
                                settings.clone(),
                                3,
                                OptimizerConfig::default(),
                                Device::Cpu,
                            )
                        }
                        false => trainer(name, &golden.settings, Trains::All),
                    };
                    assert_eq!(trainer.rounding, None);
                    trainer.recompute = recompute;
                    learn(&mut trainer, &examples, &all, WHOLE);
                    trainer.update(1e-2, 0.0, &|_| None);
                    // From the same weights on: Adam makes steps of the least differences.
                    trainer.rounding = rounding;
                    let loss = learn(&mut trainer, &examples, &all, WHOLE);
                    let of_all = trainer
                        .trained
                        .iter()
                        .map(|of| of.gradient().unwrap().copy())
                        .collect();
                    let held_out = trainer.evaluate(&pack(&examples, &all, WHOLE)[0]);
                    (loss, held_out, of_all)
                };
                let plain = gradients(None, false);
                for recompute in [false, true] {
                    let filled = gradients(Some(Rounding { multiple, from: 1 }), recompute);
                    assert!(
                        (plain.0 - filled.0).abs() < 1e-6,
                        "{name}: {} and {}",
                        plain.0,
                        filled.0
                    );
                    assert!(
                        (plain.1 - filled.1).abs() < 1e-4,
                        "{name}: {} and {}",
                        plain.1,
                        filled.1
                    );
                    for (a, b) in filled.2.iter().zip(&plain.2) {
                        let apart = (a - b).abs().max().double_value(&[]);
                        let largest = b.abs().max().double_value(&[]).max(1.0);
                        assert!(
                            apart < 1e-6 * largest,
                            "{name}, LoRA {lora}, {multiple}: {apart} of {largest}"
                        );
                    }
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
            let gradients = |recompute: bool| -> (f64, Vec<Tensor>) {
                let model = model::load(&golden_dir().join(name), Device::Cpu, dtype)
                    .unwrap()
                    .model;
                let mut trainer = if lora {
                    Trainer::lora(
                        model,
                        settings.clone(),
                        3,
                        OptimizerConfig::default(),
                        Device::Cpu,
                    )
                } else {
                    Trainer::full(model, |_| None, OptimizerConfig::default(), Device::Cpu)
                };
                trainer.recompute = recompute;
                trainer.neftune = Some(5.0);
                // A first step makes the adapter's second factor nonzero. Zero would hide the
                // gradient of the first.
                learn(&mut trainer, &examples, &all, WHOLE);
                trainer.update(1e-2, 0.0, &|_| None);
                let loss = learn(&mut trainer, &examples, &all, WHOLE);
                let of_all = trainer.trained.iter().map(|of| of.gradient().unwrap().copy());
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

/// Noise changes what is learned, not how it is evaluated.
#[test]
fn noise_is_for_training_only() {
    let (golden, examples) = read("gptj");
    let all: Vec<usize> = (0..examples.len()).collect();
    let micro_batch = &pack(&examples, &all, WHOLE)[0];
    let run = |neftune: Option<f64>| {
        let mut trainer = trainer("gptj", &golden.settings, Trains::All);
        trainer.neftune = neftune;
        let evaluated = trainer.evaluate(micro_batch);
        (evaluated, learn(&mut trainer, &examples, &all, WHOLE))
    };
    let (plain, noisy) = (run(None), run(Some(5.0)));
    assert_eq!(plain.0, noisy.0);
    assert!((plain.1 - noisy.1).abs() > 1e-4 * plain.1, "{plain:?} {noisy:?}");
    assert_eq!(noisy, run(Some(5.0)));
}
