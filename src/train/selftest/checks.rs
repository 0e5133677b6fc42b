//! The checks of `ewe selftest`: each on a tiny model in a directory, on one device.

use super::models::{load, load_as};
use crate::model::CausalLm;
use crate::model::files::weights::Form;
use crate::model::layers::attention::ForwardPass;
use crate::train::data::dataset::Example;
use crate::train::data::micro_batch::{MicroBatch, MicroBatchLimits, pack};
use crate::train::optim::optimizer::OptimizerConfig;
use crate::train::out::files;
use crate::train::trainer::{StepOutcome, Trainer};
use anyhow::{Result, ensure};
use ewe::finetune::{Formats, LoraSettings};
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// A check: given the directory of a model and a device, it fails or returns a detail.
pub type Check = fn(&Path, Device) -> Result<String>;

/// The checks on every device, by name.
pub const CHECKS: [(&str, Check); 11] = [
    ("forward twice is equal", twice),
    ("packed examples are as alone", packed),
    ("a shared beginning is as computed in each", shared),
    ("no example sees another", isolated),
    ("updates in backward are those after", within_backward),
    ("gradients do not depend on the cut", cuts),
    ("loss falls, full bf16", |dir, device| falls(dir, device, false)),
    ("loss falls, LoRA bf16", |dir, device| falls(dir, device, true)),
    ("loss falls, DoRA on 4 bits", falls_on_four_bits),
    ("offloaded weights are those in place", offloaded),
    ("saved state goes on bit for bit", resumes),
];

/// The check of a GPU against the CPU.
pub const GPU_CHECK: (&str, Check) = ("device agrees with the CPU", agrees);

fn trainer(dir: &Path, device: Device, kind: Kind, lora: bool) -> Result<Trainer> {
    let model = load(dir, device, kind)?;
    let settings = LoraSettings {
        rank: 4,
        alpha: 8.0,
        dropout: 0.1,
        ..LoraSettings::default()
    };
    Ok(if lora {
        Trainer::lora(model, settings, 0, OptimizerConfig::default(), device)
    } else {
        Trainer::full(model, |_| None, OptimizerConfig::default(), device)
    })
}

fn examples() -> Vec<Example> {
    let example = |n: u32| {
        let ids = (0..8 + 3 * n)
            .map(|t| 1 + (17 * n + 5 * t + t * t / 3) % 127)
            .collect();
        Example::with_targets_from(3, format!("example {n}"), ids)
    };
    (0..6).map(example).collect()
}

/// The examples of [`examples`], with a prefix that all share and a longer one that two share.
fn alike() -> Vec<Example> {
    let mut examples = examples();
    let first = examples[5].ids.clone();
    for example in &mut examples[..5] {
        example.ids[..5].copy_from_slice(&first[..5]);
    }
    examples[4].ids[..9].copy_from_slice(&first[..9]);
    examples
}

fn micro_batches(rows: usize) -> Vec<MicroBatch> {
    micro_batches_of(&examples(), rows)
}

fn micro_batches_of(examples: &[Example], rows: usize) -> Vec<MicroBatch> {
    let limits = MicroBatchLimits {
        examples: rows,
        positions: 9999,
    };
    let all: Vec<usize> = (0..examples.len()).collect();
    pack(examples, &all, limits)
}

/// Accumulates the gradients of one step. Returns its mean loss.
fn learn(trainer: &mut Trainer, rows: usize, seed: i64) -> f64 {
    learn_micro_batches(trainer, &micro_batches(rows), seed)
}

fn learn_micro_batches(trainer: &mut Trainer, micro_batches: &[MicroBatch], seed: i64) -> f64 {
    let targets: usize = micro_batches
        .iter()
        .map(|micro_batch| micro_batch.target_n.len())
        .sum();
    let last = micro_batches.len() - 1;
    let nll: f64 = micro_batches
        .iter()
        .enumerate()
        .map(|(n, micro_batch)| trainer.forward_backward(micro_batch, targets, n == last, seed))
        .sum();
    nll / targets as f64
}

fn hidden(model: &dyn CausalLm, micro_batch: &MicroBatch, device: Device) -> Tensor {
    let _guard = tch::no_grad_guard();
    let token_1t = Tensor::from_slice(&micro_batch.id_t)
        .unsqueeze(0)
        .to_device(device);
    model.forward(&token_1t, &mut ForwardPass::packed(&micro_batch.nodes, device))
}

fn twice(dir: &Path, device: Device) -> Result<String> {
    let model = load(dir, device, Kind::BFloat16)?;
    let micro_batch = &micro_batches(6)[0];
    ensure!(
        hidden(model.as_ref(), micro_batch, device) == hidden(model.as_ref(), micro_batch, device),
        "the results differ"
    );
    Ok("bit-equal in bf16".to_owned())
}

fn packed(dir: &Path, device: Device) -> Result<String> {
    let mut trainer = trainer(dir, device, Kind::Float, false)?;
    let together: f64 = micro_batches(6)
        .iter()
        .map(|micro_batch| trainer.evaluate(micro_batch))
        .sum();
    let alone: f64 = micro_batches(1)
        .iter()
        .map(|micro_batch| trainer.evaluate(micro_batch))
        .sum();
    within((together - alone).abs() / alone, 1e-5)
}

/// Losses and gradients of examples with a shared prefix: in fp32 and, since a GPU may have another
/// attention for it, in bf16.
fn shared(dir: &Path, device: Device) -> Result<String> {
    let examples = alike();
    ensure!(
        micro_batches_of(&examples, 6)[0].nodes.len() > 6,
        "nothing is shared"
    );
    let mut worst = [0f64; 2];
    for (worst, kind) in worst.iter_mut().zip([Kind::Float, Kind::BFloat16]) {
        let run = |rows: usize| -> Result<(f64, Vec<Tensor>)> {
            let mut trainer = trainer(dir, device, kind, false)?;
            let loss = learn_micro_batches(&mut trainer, &micro_batches_of(&examples, rows), 0);
            let of = trainer.trained.iter();
            Ok((
                loss,
                of.filter_map(|of| of.gradient().map(|x| x.copy())).collect(),
            ))
        };
        let ((together, gradients), (alone, wanted)) = (run(6)?, run(1)?);
        *worst = (together - alone).abs() / alone;
        for (ours, wanted) in gradients.iter().zip(&wanted) {
            *worst = worst.max(((ours - wanted).norm() / wanted.norm()).double_value(&[]));
        }
    }
    within(worst[1], 3e-2)?;
    within(worst[0], 1e-5)
}

/// The tokens of other examples change nothing, to the last bit.
fn isolated(dir: &Path, device: Device) -> Result<String> {
    let model = load(dir, device, Kind::BFloat16)?;
    let micro_batch = &micro_batches(6)[0];
    let first = micro_batch.nodes[0].length;
    let mut other = micro_batch.clone();
    other.id_t[..first as usize]
        .iter_mut()
        .for_each(|id| *id = (*id + 1) % 127);
    let of_others =
        |micro_batch: &MicroBatch| hidden(model.as_ref(), micro_batch, device).slice(1, first, None, 1);
    ensure!(
        of_others(micro_batch) == of_others(&other),
        "the others' results differ"
    );
    let of_first =
        |micro_batch: &MicroBatch| hidden(model.as_ref(), micro_batch, device).slice(1, 0, first, 1);
    ensure!(of_first(micro_batch) != of_first(&other), "nothing was changed");
    Ok("bit-equal in bf16".to_owned())
}

fn within_backward(dir: &Path, device: Device) -> Result<String> {
    let (mut after, mut within_it) = (
        trainer(dir, device, Kind::BFloat16, false)?,
        trainer(dir, device, Kind::BFloat16, false)?,
    );
    after.recompute = true;
    let micro_batch = &micro_batches(6)[0];
    let targets = micro_batch.target_n.len();
    for _ in 0..3 {
        after.forward_backward(micro_batch, targets, true, 0);
        after.update(1e-2, 1.0, &|_| None);
        within_it.update_in_backward_pass(&[(micro_batch, 0)], targets, 1e-2, 1.0, &|_, _| None);
    }
    let mut worst = 0f64;
    for (a, b) in after.trained.iter().zip(&within_it.trained) {
        worst = worst.max((a.values() - b.values()).abs().max().double_value(&[]));
    }
    within(worst, 1e-3)
}

fn cuts(dir: &Path, device: Device) -> Result<String> {
    let mut worst = 0f64;
    let gradients = |rows| -> Result<Vec<Tensor>> {
        let mut trainer = trainer(dir, device, Kind::Float, false)?;
        learn(&mut trainer, rows, 0);
        Ok(trainer
            .trained
            .iter()
            .filter_map(|of| of.gradient().map(|gradient| gradient.copy()))
            .collect())
    };
    for (whole, cut) in gradients(6)?.iter().zip(&gradients(2)?) {
        let scale = whole.abs().max().double_value(&[]).max(1e-6);
        worst = worst.max((whole - cut).abs().max().double_value(&[]) / scale);
    }
    within(worst, 1e-4)
}

fn falls(dir: &Path, device: Device, lora: bool) -> Result<String> {
    falling(trainer(dir, device, Kind::BFloat16, lora)?)
}

fn falls_on_four_bits(dir: &Path, device: Device) -> Result<String> {
    let model = load_as(dir, device, Kind::BFloat16, Form::Quantized)?;
    let settings = LoraSettings {
        rank: 4,
        alpha: 8.0,
        dora: true,
        ..LoraSettings::default()
    };
    falling(Trainer::lora(
        model,
        settings,
        0,
        OptimizerConfig::default(),
        device,
    ))
}

/// Offloaded weights end where weights updated in place do; on a GPU the operations differ, so not
/// to the last bit.
fn offloaded(dir: &Path, device: Device) -> Result<String> {
    let run = |offload: bool| -> Result<Trainer> {
        let config = OptimizerConfig {
            formats: Formats {
                offload,
                ..Formats::default()
            },
            ..OptimizerConfig::default()
        };
        let model = load(dir, device, Kind::BFloat16)?;
        let mut trainer = Trainer::full(model, |_| None, config, device);
        for step in 0..3 {
            learn(&mut trainer, 6, step);
            trainer.update(1e-2, 1.0, &|_| None);
        }
        Ok(trainer)
    };
    let (in_place, offloaded) = (run(false)?, run(true)?);
    let mut worst = 0f64;
    for (a, b) in in_place.trained.iter().zip(&offloaded.trained) {
        let apart = a.values().to_device(Device::Cpu) - b.values();
        worst = worst.max(apart.abs().max().double_value(&[]));
        ensure!(
            b.leaf.device() == device && b.home() == Device::Cpu,
            "{} is elsewhere",
            b.name
        );
    }
    within(worst, if device.is_cuda() { 1e-3 } else { 0.0 })
}

fn falling(mut trainer: Trainer) -> Result<String> {
    let mut losses = Vec::new();
    for step in 0..20 {
        losses.push(learn(&mut trainer, 3, step));
        let update = trainer.update(1e-2, 1.0, &|_| None);
        ensure!(
            matches!(update, StepOutcome::Updated(_)),
            "a gradient is not finite"
        );
    }
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    ensure!(
        last < 0.99 * first,
        "{first:.3} at first, {last:.3} after 20 steps"
    );
    Ok(format!("{first:.3} to {last:.3} in 20 steps"))
}

fn resumes(dir: &Path, device: Device) -> Result<String> {
    let mut first = trainer(dir, device, Kind::BFloat16, true)?;
    learn(&mut first, 3, 1);
    first.update(1e-2, 1.0, &|_| None);
    let path = dir.join("state.safetensors");
    files::write_safetensors(&path, &first.state())?;
    let mut second = trainer(dir, device, Kind::BFloat16, true)?;
    let mut saved = files::read_safetensors(&path)?;
    std::fs::remove_file(&path)?;
    second.restore(&mut |name| saved.remove(name))?;
    for of in [&mut first, &mut second] {
        learn(of, 3, 2);
        of.update(1e-2, 1.0, &|_| None);
    }
    for (a, b) in first.trained.iter().zip(&second.trained) {
        ensure!(
            a.values() == b.values(),
            "{} differs after a restored step",
            a.name
        );
    }
    Ok("after a step with dropout".to_owned())
}

fn agrees(dir: &Path, device: Device) -> Result<String> {
    let mut loss = [0.0; 2];
    for (device, loss) in [Device::Cpu, device].into_iter().zip(&mut loss) {
        let mut trainer = trainer(dir, device, Kind::Float, false)?;
        *loss = learn(&mut trainer, 6, 0);
    }
    within((loss[0] - loss[1]).abs() / loss[0], 1e-4)
}

fn within(apart: f64, limit: f64) -> Result<String> {
    ensure!(apart <= limit, "apart by {apart:.1e}, allowed {limit:.0e}");
    Ok(format!("apart by {apart:.0e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::memory::peak_of;
    use crate::train::selftest::models::make;
    use serde_json::json;

    #[test]
    fn memory_falls_by_more_than_three_fifths_where_24_layers_are_computed_again() {
        let dir = tempfile::tempdir().unwrap();
        let config = json!({
            "model_type": "gptj", "vocab_size": 128, "n_positions": 768, "n_embd": 128, "n_layer": 24, "n_head": 4,
            "rotary_dim": 8, "n_inner": null, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new",
            "eos_token_id": 0,
        });
        make(dir.path(), &config).unwrap();
        let ids = (0..768u32).map(|t| 1 + (5 * t + t * t / 3) % 127).collect();
        let example = Example::with_targets_from(700, "long".to_owned(), ids);
        let limits = MicroBatchLimits {
            examples: 1,
            positions: 9999,
        };
        let micro_batch = &pack(&[example], &[0], limits)[0];
        let targets = micro_batch.target_n.len();
        // Peak of a step, beyond weights and optimizer state, which exist before and after it.
        let peak = |recompute: bool, within: bool| {
            let mut trainer = trainer(dir.path(), Device::Cpu, Kind::Float, false).unwrap();
            trainer.recompute = recompute;
            let mut peak = None;
            for _ in 0..2 {
                let (_, of_step) = peak_of(Device::Cpu, || {
                    if within {
                        trainer
                            .update_in_backward_pass(&[(micro_batch, 0)], targets, 1e-3, 0.0, &|_, _| None);
                    } else {
                        trainer.forward_backward(micro_batch, targets, true, 0);
                        trainer.update(1e-3, 0.0, &|_| None);
                    }
                });
                peak = of_step;
            }
            peak.expect("the tests' allocator counts") as f64
        };
        let plain = peak(false, false);
        let again = peak(true, false) / plain;
        let within = peak(true, true) / plain;
        println!(
            "computed again: {again:.2} of {:.0} MB; updated in backward: {within:.2}",
            plain / 1e6
        );
        assert!(
            again < 0.4 && within < again,
            "{again:.3} and {within:.3} of {plain}"
        );
    }
}
