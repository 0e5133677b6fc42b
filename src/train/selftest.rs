//! `ewe selftest`: exactness checks on a tiny random model of every family, on the device that
//! training would use.
//!
//! - [`checks`]: the checks.
//! - [`models`]: the models.
//! - [`kernels`]: checks of the GPU kernels, on [`kernel_inputs`]; [`kernel_speed`]: their speed.
//! - [`benchmark`]: a few timed steps of a larger model, and their memory beside its estimate.
//! - [`workload`], [`decode`]: the same for any model and format, with random weights made on the
//!   device; [`step_trace`]: what a step asks libtorch for.

pub mod benchmark;
pub mod checks;
mod decode;
mod kernel_inputs;
mod kernel_speed;
pub mod kernels;
pub mod models;
mod step_trace;
pub mod workload;

use super::speed;
use crate::model;
use anyhow::Result;
use benchmark::Benchmark;
use checks::{CHECKS, Check, GPU_CHECK};
use ewe::atomic_file::scratch::ScratchFolder;
use ewe::job::train::GpuNumerics;
use ewe::text::counted;
use kernels::KernelCheck;
use models::make;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use tch::{Device, Kind};

/// One line of the table.
#[derive(Debug, Serialize)]
struct Outcome {
    model: &'static str,
    check: &'static str,
    passed: bool,
    detail: String,
}

/// The results of all checks.
struct SelftestReport {
    device: Device,
    /// Whether the user named the device.
    is_named: bool,
    outcomes: Vec<Outcome>,
    kernels: Vec<KernelCheck>,
    benchmark: Benchmark,
    /// What is known of a GPU and of libtorch's settings for it, by name.
    facts: Vec<(String, String)>,
    /// Rates of matrix products in GFLOP/s, in fp32 and in bf16.
    rates: [f64; 2],
}

/// Runs `ewe selftest` on `device`: `auto`, `cpu` or `cuda:N`. Returns the exit code, 1 if a check
/// failed.
pub fn run(device: &str, as_json: bool) -> Result<u8> {
    let is_named = device != "auto";
    // As in training: deterministic on a GPU.
    let device = model::device::for_training(device, GpuNumerics::default())?;
    let mut outcomes = Vec::new();
    for (family, config) in model::selftest_configs() {
        outcomes.extend(check_family(family, &config, device)?);
    }
    let kernels = kernels::check_all(device);
    let dir = ScratchFolder::within(&std::env::temp_dir())?;
    let benchmark = benchmark::run(dir.path(), device)?;
    outcomes.push(check_memory(&benchmark, device));
    let report = SelftestReport {
        device,
        is_named,
        outcomes,
        kernels,
        benchmark,
        facts: model::device::facts(device)?,
        rates: [Kind::Float, Kind::BFloat16].map(|kind| speed::matmul_rate(kind, device) / 1e9),
    };
    if as_json {
        println!("{}", ewe::streams::json::pretty(&report.json())?);
    } else {
        print!("{}", report.text());
    }
    Ok(u8::from(report.failed() > 0))
}

/// Runs all checks on a model of `family` with random weights.
fn check_family(family: &'static str, config: &serde_json::Value, device: Device) -> Result<Vec<Outcome>> {
    let dir = ScratchFolder::within(&std::env::temp_dir())?;
    make(dir.path(), config)?;
    let outcome = |(name, check): (&'static str, Check)| {
        let (passed, detail) = match check(dir.path(), device) {
            Ok(detail) => (true, detail),
            Err(error) => (false, format!("{error:#}")),
        };
        Outcome {
            model: family,
            check: name,
            passed,
            detail,
        }
    };
    let gpu = device.is_cuda().then_some(GPU_CHECK);
    Ok(CHECKS.into_iter().chain(gpu).map(outcome).collect())
}

/// Returns how far, as a share, a memory estimate may be from the measurement. On a GPU updates are
/// made of operations with temporaries of their own.
fn allowed(device: Device) -> f64 {
    if device.is_cuda() { 0.15 } else { 0.05 }
}

/// Checks the memory of the benchmark against its estimate.
fn check_memory(benchmark: &Benchmark, device: Device) -> Outcome {
    let (passed, detail) = match benchmark.apart().zip(benchmark.memory) {
        Some((apart, bytes)) => (
            apart.abs() <= allowed(device),
            format!(
                "{:.0} MB, planned {:.0} ({:+.1} %)",
                bytes as f64 / 1e6,
                benchmark.planned as f64 / 1e6,
                100.0 * apart
            ),
        ),
        None => (true, "this build counts no memory".to_owned()),
    };
    Outcome {
        model: "gptj",
        check: "a step takes the memory of its plan",
        passed,
        detail,
    }
}

impl SelftestReport {
    fn failed(&self) -> usize {
        let outcomes = self.outcomes.iter().map(|outcome| outcome.passed);
        let kernels = self.kernels.iter().map(|check| check.passed);
        outcomes.chain(kernels).filter(|passed| !passed).count()
    }

    fn json(&self) -> serde_json::Value {
        let facts: BTreeMap<_, _> = self.facts.iter().cloned().collect();
        json!({
            "device": format!("{:?}", self.device), "threads": tch::get_num_threads(), "gflops_fp32": self.rates[0],
            "gflops_bf16": self.rates[1], "trial": self.benchmark, "checks": self.outcomes,
            "kernels": self.kernels, "facts": facts, "failed": self.failed(),
        })
    }

    fn text(&self) -> String {
        let width = self.outcomes.iter().map(|of| of.check.len()).max().unwrap_or(0);
        let lines = self.outcomes.iter().map(|of| {
            let mark = if of.passed { "ok" } else { "FAILED" };
            format!("{:<12} {:<width$} {mark:<7} {}\n", of.model, of.check, of.detail)
        });
        let mut text: String = lines.collect();
        text += &kernels::text(&self.kernels);
        for (name, value) in &self.facts {
            text += &format!("{name}: {value}\n");
        }
        text += &format!(
            "matrix products on {}: {:.0} GFLOP/s fp32, {:.0} GFLOP/s bf16\n",
            model::device::name(self.device),
            self.rates[0],
            self.rates[1]
        );
        text += &format!(
            "training every weight of a GPT-J of {:.0}M numbers in {}: {:.0} tokens/s, {:.0} % of the matmul rate\n",
            self.benchmark.parameters as f64 / 1e6,
            self.benchmark.precision,
            self.benchmark.tokens_per_s,
            100.0 * self.benchmark.mfu
        );
        if !self.device.is_cuda() {
            text += match self.is_named {
                true => "no GPU was tested\n",
                false => "no GPU was tested: this machine has none that answers\n",
            };
        }
        text + &match self.failed() {
            0 => "all checks passed\n".to_owned(),
            failed => format!("{} failed\n", counted(failed, "check")),
        }
    }
}
