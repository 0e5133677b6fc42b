//! `ewe selftest`: exactness checks on a tiny random model of every family, on the device that training would use.

pub mod models;

use super::speed;
use super::trainer::{Trainer, Update};
use crate::model::attention::ForwardPass;
use crate::model::weights::Form;
use crate::model::{self, CausalLm};
use crate::train::data::dataset::Example;
use crate::train::data::micro_batch::{MicroBatch, MicroBatchLimits, pack};
use crate::train::optim::lora::LoraSettings;
use crate::train::optim::optimizer::Rule;
use crate::train::out::files;
use crate::train::plan::dry_run::{self, DryRun};
use anyhow::{Result, ensure};
use ewe::atomic_file::scratch::Scratch;
use ewe::cli::models::selftest::Args;
use ewe::text::counted;
use models::{configs, load, load_as, make};
use serde::Serialize;
use serde_json::json;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// One line of the table.
#[derive(Debug, Serialize)]
struct Check {
    model: &'static str,
    check: &'static str,
    passed: bool,
    detail: String,
}

/// Runs `ewe selftest`; gives the exit code, 1 if a check failed.
pub fn run(args: &Args) -> Result<u8> {
    let device = model::device::device(&args.device)?;
    let mut checks = Vec::new();
    for (family, config) in configs() {
        // Everything below happens on a model of this family, made of random numbers in a folder of its own.
        let dir = Scratch::within(&std::env::temp_dir())?;
        make(dir.path(), &config)?;
        let mut note = |check, outcome: Result<String>| {
            let (passed, detail) = match outcome {
                Ok(detail) => (true, detail),
                Err(error) => (false, format!("{error:#}")),
            };
            checks.push(Check {
                model: family,
                check,
                passed,
                detail,
            });
        };
        note("forward twice is equal", twice(dir.path(), device));
        note("packed examples are as alone", packed(dir.path(), device));
        note(
            "a shared beginning is as computed in each",
            shared(dir.path(), device),
        );
        note("no example sees another", isolated(dir.path(), device));
        note(
            "updates in backward are those after",
            within_backward(dir.path(), device),
        );
        note("gradients do not depend on the cut", cuts(dir.path(), device));
        note("loss falls, full bf16", falls(dir.path(), device, false));
        note("loss falls, LoRA bf16", falls(dir.path(), device, true));
        note(
            "loss falls, DoRA on 4 bits",
            falls_on_four_bits(dir.path(), device),
        );
        note(
            "offloaded weights are those in place",
            offloaded(dir.path(), device),
        );
        note("saved state goes on bit for bit", resumes(dir.path(), device));
        if device.is_cuda() {
            note("device agrees with the CPU", agrees(dir.path(), device));
        }
    }
    let dir = Scratch::within(&std::env::temp_dir())?;
    let trial = dry_run::run(dir.path(), device)?;
    checks.push(planned_as_measured(&trial, device));
    let rates = [Kind::Float, Kind::BFloat16].map(|kind| speed::matmul_rate(kind, device) / 1e9);
    let failed = checks.iter().filter(|check| !check.passed).count();
    if args.json {
        let value = json!({
            "device": format!("{device:?}"), "threads": tch::get_num_threads(), "gflops_fp32": rates[0],
            "gflops_bf16": rates[1], "trial": trial, "checks": checks, "failed": failed,
        });
        println!("{}", ewe::cli::args::json::pretty(&value)?);
    } else {
        for check in &checks {
            let mark = if check.passed { "ok" } else { "FAILED" };
            println!(
                "{:<12} {:<36} {mark:<7} {}",
                check.model, check.check, check.detail
            );
        }
        println!(
            "matrix products on {device:?}: {:.0} GFLOP/s fp32, {:.0} GFLOP/s bf16",
            rates[0], rates[1]
        );
        println!(
            "training every weight of a GPT-J of {:.0}M numbers in {}: {:.0} tokens/s, {:.0} % of the matmul rate",
            trial.parameters as f64 / 1e6,
            trial.precision,
            trial.tokens_per_s,
            100.0 * trial.mfu
        );
        if !device.is_cuda() {
            println!(
                "no GPU was tested{}",
                if args.device == "auto" {
                    ": this machine has none that answers"
                } else {
                    ""
                }
            );
        }
        println!(
            "{}",
            if failed == 0 {
                "all checks passed".to_owned()
            } else {
                format!("{} failed", counted(failed, "check"))
            }
        );
    }
    Ok(u8::from(failed > 0))
}

/// A plan may be so far from what is measured. On a GPU updates are composed of operations that come and go with memory of their own.
fn allowed(device: Device) -> f64 {
    if device.is_cuda() { 0.15 } else { 0.05 }
}

fn planned_as_measured(trial: &DryRun, device: Device) -> Check {
    let (passed, detail) = match trial.apart().zip(trial.memory) {
        Some((apart, bytes)) => (
            apart.abs() <= allowed(device),
            format!(
                "{:.0} MB, planned {:.0} ({:+.1} %)",
                bytes as f64 / 1e6,
                trial.planned as f64 / 1e6,
                100.0 * apart
            ),
        ),
        None => (true, "this build counts no memory".to_owned()),
    };
    Check {
        model: "gptj",
        check: "a step takes the memory of its plan",
        passed,
        detail,
    }
}

fn trainer(dir: &Path, device: Device, kind: Kind, lora: bool) -> Result<Trainer> {
    let model = load(dir, device, kind)?;
    let settings = LoraSettings {
        rank: 4,
        alpha: 8.0,
        dropout: 0.1,
        ..LoraSettings::default()
    };
    Ok(if lora {
        Trainer::lora(model, settings, 0, Rule::default(), device)
    } else {
        Trainer::full(model, |_| None, Rule::default(), device)
    })
}

fn examples() -> Vec<Example> {
    let example = |n: u32| {
        let ids = (0..8 + 3 * n)
            .map(|t| 1 + (17 * n + 5 * t + t * t / 3) % 127)
            .collect();
        Example::learnt_from(3, format!("example {n}"), ids)
    };
    (0..6).map(example).collect()
}

/// The same, but all begin alike, and two with more than the others.
fn alike() -> Vec<Example> {
    let mut examples = examples();
    let first = examples[5].ids.clone();
    for example in &mut examples[..5] {
        example.ids[..5].copy_from_slice(&first[..5]);
    }
    examples[4].ids[..9].copy_from_slice(&first[..9]);
    examples
}

fn pieces(rows: usize) -> Vec<MicroBatch> {
    pieces_of(&examples(), rows)
}

fn pieces_of(examples: &[Example], rows: usize) -> Vec<MicroBatch> {
    let limits = MicroBatchLimits {
        examples: rows,
        positions: 9999,
    };
    let all: Vec<usize> = (0..examples.len()).collect();
    pack(examples, &all, limits)
}

/// Gradients of one step; its mean loss.
fn learn(trainer: &mut Trainer, rows: usize, seed: i64) -> f64 {
    learn_pieces(trainer, &pieces(rows), seed)
}

fn learn_pieces(trainer: &mut Trainer, pieces: &[MicroBatch], seed: i64) -> f64 {
    let targets: usize = pieces.iter().map(|piece| piece.target_n.len()).sum();
    let last = pieces.len() - 1;
    let nll: f64 = pieces
        .iter()
        .enumerate()
        .map(|(n, piece)| trainer.learn(piece, targets, n == last, seed))
        .sum();
    nll / targets as f64
}

fn hidden(model: &dyn CausalLm, piece: &MicroBatch, device: Device) -> Tensor {
    let _guard = tch::no_grad_guard();
    let token_1t = Tensor::from_slice(&piece.id_t).unsqueeze(0).to_device(device);
    model.forward(&token_1t, &mut ForwardPass::packed(&piece.branches, device))
}

fn twice(dir: &Path, device: Device) -> Result<String> {
    let model = load(dir, device, Kind::BFloat16)?;
    let piece = &pieces(6)[0];
    ensure!(
        hidden(model.as_ref(), piece, device) == hidden(model.as_ref(), piece, device),
        "the results differ"
    );
    Ok("bit-equal in bf16".to_owned())
}

fn packed(dir: &Path, device: Device) -> Result<String> {
    let mut trainer = trainer(dir, device, Kind::Float, false)?;
    let together: f64 = pieces(6).iter().map(|piece| trainer.evaluate(piece)).sum();
    let alone: f64 = pieces(1).iter().map(|piece| trainer.evaluate(piece)).sum();
    within((together - alone).abs() / alone, 1e-5)
}

/// Losses and gradients of examples that begin alike, in fp32 and, where a GPU has attention of another kind, in bf16.
fn shared(dir: &Path, device: Device) -> Result<String> {
    let examples = alike();
    ensure!(pieces_of(&examples, 6)[0].branches.len() > 6, "nothing is shared");
    let mut worst = [0f64; 2];
    for (worst, kind) in worst.iter_mut().zip([Kind::Float, Kind::BFloat16]) {
        let run = |rows: usize| -> Result<(f64, Vec<Tensor>)> {
            let mut trainer = trainer(dir, device, kind, false)?;
            let loss = learn_pieces(&mut trainer, &pieces_of(&examples, rows), 0);
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

/// Another example's tokens change nothing, to the last bit.
fn isolated(dir: &Path, device: Device) -> Result<String> {
    let model = load(dir, device, Kind::BFloat16)?;
    let piece = &pieces(6)[0];
    let first = piece.branches[0].length;
    let mut other = piece.clone();
    other.id_t[..first as usize]
        .iter_mut()
        .for_each(|id| *id = (*id + 1) % 127);
    let of_others = |piece: &MicroBatch| hidden(model.as_ref(), piece, device).slice(1, first, None, 1);
    ensure!(
        of_others(piece) == of_others(&other),
        "the others' results differ"
    );
    let of_first = |piece: &MicroBatch| hidden(model.as_ref(), piece, device).slice(1, 0, first, 1);
    ensure!(of_first(piece) != of_first(&other), "nothing was changed");
    Ok("bit-equal in bf16".to_owned())
}

fn within_backward(dir: &Path, device: Device) -> Result<String> {
    let (mut after, mut within_it) = (
        trainer(dir, device, Kind::BFloat16, false)?,
        trainer(dir, device, Kind::BFloat16, false)?,
    );
    after.recomputes = true;
    let piece = &pieces(6)[0];
    let targets = piece.target_n.len();
    for _ in 0..3 {
        after.learn(piece, targets, true, 0);
        after.update(1e-2, 1.0, &|_| None);
        within_it.learn_and_update(&[(piece, 0)], targets, 1e-2, 1.0, &|_, _| None);
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
    let model = load_as(dir, device, Kind::BFloat16, Form::Quantised)?;
    let settings = LoraSettings {
        rank: 4,
        alpha: 8.0,
        dora: true,
        ..LoraSettings::default()
    };
    falling(Trainer::lora(model, settings, 0, Rule::default(), device))
}

/// Moved in the machine's own memory, weights end where they do in place; on a GPU by other operations, so not to the last bit.
fn offloaded(dir: &Path, device: Device) -> Result<String> {
    let run = |offload: bool| -> Result<Trainer> {
        let rule = Rule {
            offload,
            ..Rule::default()
        };
        let model = load(dir, device, Kind::BFloat16)?;
        let mut trainer = Trainer::full(model, |_| None, rule, device);
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
        ensure!(matches!(update, Update::Done(_)), "a gradient is not finite");
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
        let example = Example::learnt_from(700, "long".to_owned(), ids);
        let limits = MicroBatchLimits {
            examples: 1,
            positions: 9999,
        };
        let piece = &pack(&[example], &[0], limits)[0];
        let targets = piece.target_n.len();
        // A step on top of the weights and of what the optimizer keeps, which are there before and after it.
        let peak = |recomputes: bool, within: bool| {
            let mut trainer = trainer(dir.path(), Device::Cpu, Kind::Float, false).unwrap();
            trainer.recomputes = recomputes;
            let mut peak = None;
            for _ in 0..2 {
                let (_, of_step) = peak_of(Device::Cpu, || {
                    if within {
                        trainer.learn_and_update(&[(piece, 0)], targets, 1e-3, 0.0, &|_, _| None);
                    } else {
                        trainer.learn(piece, targets, true, 0);
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
