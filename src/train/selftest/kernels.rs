//! Checks of the GPU kernels in `csrc/gpu`, for `ewe selftest`.
//!
//! On a GPU each kernel runs beside its twin on the CPU, which is compiled from the same source,
//! and must give the same bits. On the CPU the twin runs beside the kernels that training uses
//! there: AdamW and NF4 must give the same bits, while Adafactor and norms, of gradients and of
//! activations, add in another order.

use super::kernel_inputs::{
    WEIGHT_FORMATS, WeightFormat, WeightUnderTest, gradient, nf4_table, numbers, params,
};
use super::kernel_speed::{self, KernelSpeed};
use crate::model::fault;
use crate::shim::gpu::{
    FactoredSums, FusedUpdate, NormResidual, SumsOf, gated, nf4_values, rms_norm, sums_of_squares, update_all,
};
use crate::shim::nf4::{Nf4Codes, dequantize};
use crate::shim::{self, Gate, Norm, optimizers};
use anyhow::{Context, Result, ensure};
use ewe::finetune::{Master, OptimizerKind};
use serde::Serialize;
use serde_json::json;
use tch::{Device, Kind, Tensor};

/// Numbers of elements that fill neither the lanes nor the blocks of a launch.
const COUNTS: [i64; 6] = [1, 7, 255, 257, 1000, 20_001];
/// Matrices that fill no tile of Adafactor, beside one that does.
const MATRICES: [[i64; 2]; 6] = [[1, 1], [1, 300], [65, 9], [64, 256], [130, 515], [257, 1]];
/// Weights in 4 bits; an even number each, as NF4 packs two in a byte.
const NF4_SIZES: [(i64, i64); 4] = [(1, 2), (1, 66), (7, 130), (65, 258)];
/// Updates of each tensor, so that later ones start from optimizer state that is not zero.
const STEPS: u64 = 3;
/// Features of norms; the last one fills the lanes of a warp several times.
const NORM_WIDTHS: [i64; 4] = [7, 64, 264, 4096];
const GRADIENT_KINDS: [Kind; 2] = [Kind::Float, Kind::BFloat16];
/// Those that have kernels.
const OPTIMIZERS: [OptimizerKind; 3] = [
    OptimizerKind::Adamw,
    OptimizerKind::Adamw8bit,
    OptimizerKind::Adafactor,
];

/// The result of one kernel.
#[derive(Debug, Serialize)]
pub struct KernelCheck {
    /// Optimizer and storage format, or the kernel's name.
    pub kernel: String,
    /// Whether it agrees with its reference.
    pub passed: bool,
    /// How it agrees, or how it fails.
    pub detail: String,
    /// Its speed on 64M parameters, on a GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<KernelSpeed>,
}

/// How close a kernel must come to its reference.
#[derive(Debug, Clone, Copy)]
enum Agreement {
    /// The same bits.
    Exact,
    /// Differences of at most this share of the largest number.
    Within(f64),
}

/// Checks every kernel on `device`, and times it if that is a GPU.
pub fn check_all(device: Device) -> Vec<KernelCheck> {
    let _guard = tch::no_grad_guard();
    let mut checks = Vec::new();
    for optimizer in OPTIMIZERS {
        for format in &WEIGHT_FORMATS {
            checks.push(outcome(
                format!("{} {}", optimizer_name(optimizer), format.name),
                || check_updates(optimizer, format, device),
                || kernel_speed::of_updates(optimizer, format, device),
                device,
            ));
        }
    }
    for kind in GRADIENT_KINDS {
        checks.push(outcome(
            format!("sums of squares {}", kind_name(kind)),
            || check_sums(kind, device),
            || kernel_speed::of_sums(kind, device),
            device,
        ));
        checks.push(outcome(
            format!("nf4 to {}", kind_name(kind)),
            || check_nf4(kind, device),
            || kernel_speed::of_nf4(kind, device),
            device,
        ));
        checks.push(outcome(
            format!("rms norm {}", kind_name(kind)),
            || check_rms_norm(kind, device),
            || kernel_speed::of_rms_norm(kind, device),
            device,
        ));
        checks.push(outcome(
            format!("gated {}", kind_name(kind)),
            || check_gated(kind, device),
            || kernel_speed::of_gated(kind, device),
            device,
        ));
    }
    checks
}

/// Runs `ewe selftest --kernels` on `device`. Returns the exit code, 1 if a kernel failed.
pub fn run(device: &str, as_json: bool) -> Result<u8> {
    let device = crate::model::device::device(device)?;
    let checks = check_all(device);
    let failed = checks.iter().filter(|check| !check.passed).count();
    if as_json {
        let report = json!({"device": format!("{device:?}"), "kernels": checks, "failed": failed});
        println!("{}", ewe::streams::json::pretty(&report)?);
    } else {
        print!("{}", text(&checks));
    }
    Ok(u8::from(failed > 0))
}

/// Returns a line for each kernel.
pub fn text(checks: &[KernelCheck]) -> String {
    let line = |of: &KernelCheck| {
        let mark = if of.passed { "ok" } else { "FAILED" };
        let speed = of.speed.as_ref().map_or(String::new(), |speed| {
            format!(
                ", {:.0} GB/s of 64M parameters in {:.3} ms",
                speed.gb_per_s, speed.ms
            )
        });
        format!(
            "{:<12} {:<36} {mark:<7} {}{speed}\n",
            "kernel", of.kernel, of.detail
        )
    };
    checks.iter().map(line).collect()
}

/// Runs a check, and on a GPU `time`. A panic becomes a failure, so that the other kernels are
/// still checked; after an error of CUDA itself they fail too.
fn outcome(
    kernel: String,
    check: impl FnOnce() -> Result<String>,
    time: impl FnOnce() -> Result<KernelSpeed>,
    device: Device,
) -> KernelCheck {
    let caught = |result: Result<Result<String>, String>| match result {
        Ok(Ok(detail)) => (true, detail),
        Ok(Err(error)) => (false, format!("{error:#}")),
        Err(panic) => (false, panic),
    };
    let (mut passed, mut detail) = caught(fault::tamed(check));
    let mut speed = None;
    if device.is_cuda() && passed {
        let timed = fault::tamed(|| {
            speed = Some(time()?);
            Ok(detail.clone())
        });
        (passed, detail) = caught(timed);
    }
    KernelCheck {
        kernel,
        passed,
        detail,
        speed,
    }
}

fn optimizer_name(optimizer: OptimizerKind) -> &'static str {
    match optimizer {
        OptimizerKind::Adamw => "adamw",
        OptimizerKind::Lion => "lion",
        OptimizerKind::Adamw8bit => "adamw8bit",
        OptimizerKind::Adafactor => "adafactor",
    }
}

fn kind_name(kind: Kind) -> &'static str {
    crate::model::device::dtype_name(kind)
}

/// Checks an optimizer's updates of tensors of odd sizes, all in one call.
fn check_updates(optimizer: OptimizerKind, format: &WeightFormat, device: Device) -> Result<String> {
    let factored = optimizer == OptimizerKind::Adafactor;
    let agreement = match (device.is_cuda() || !factored, format.master) {
        (true, _) => Agreement::Exact,
        // A sum that differs in its last bit may round a bf16 the other way.
        (false, Master::Stochastic) => Agreement::Within(1e-2),
        (false, _) => Agreement::Within(1e-5),
    };
    let sizes: Vec<Vec<i64>> = match factored {
        true => MATRICES.iter().map(|size| size.to_vec()).collect(),
        false => COUNTS.iter().map(|count| vec![*count]).collect(),
    };
    let mut worst = 0f64;
    for kind in GRADIENT_KINDS {
        let tensors = |device| -> Vec<WeightUnderTest> {
            let of = |size: &Vec<i64>| {
                let values = numbers(size, size[0]) * 0.02;
                WeightUnderTest::new(&values, format, optimizer, device)
            };
            sizes.iter().map(of).collect()
        };
        let (ours, references) = (tensors(device), tensors(Device::Cpu));
        for step in 1..=STEPS {
            let gradients: Vec<Tensor> = sizes
                .iter()
                .map(|size| gradient(size, kind, step, !factored))
                .collect();
            update_by_kernel(&ours, &gradients, step)?;
            if device.is_cuda() {
                update_by_kernel(&references, &gradients, step)?;
            } else {
                update_on_cpu(&references, &gradients, step);
            }
        }
        for ((ours, reference), size) in ours.iter().zip(&references).zip(&sizes) {
            for (name, (ours, expected)) in ours.pairs(reference, agreement.is_exact()) {
                let apart = compared(&ours, &expected, agreement)
                    .with_context(|| format!("{name} of {size:?}, gradient in {}", kind_name(kind)))?;
                worst = worst.max(apart);
            }
        }
    }
    Ok(agreement.words(worst))
}

/// Updates all tensors by the kernels for GPUs: on the CPU, by their twin. As in training,
/// Adafactor gets the sums that norms are computed from.
fn update_by_kernel(tensors: &[WeightUnderTest], gradients: &[Tensor], step: u64) -> Result<()> {
    let updates = tensors.iter().zip(gradients);
    let mut updates: Vec<FusedUpdate> = updates
        .map(|(of, gradient)| of.fused(&params(step), gradient))
        .collect();
    let matrix = |update: &FusedUpdate| match update {
        FusedUpdate::Adafactor(of) => {
            let size = (of.row_means.numel() as i64, of.column_means.numel() as i64);
            Some((of.gradient.shallow_clone(), size))
        }
        FusedUpdate::Adamw(_) => None,
    };
    let matrices: Vec<(Tensor, (i64, i64))> = updates.iter().filter_map(matrix).collect();
    let (sums, _) = FactoredSums::of(&matrices)?;
    for (number, update) in updates.iter_mut().enumerate() {
        if let FusedUpdate::Adafactor(of) = update {
            of.sums = Some(SumsOf { all: &sums, number });
        }
    }
    update_all(updates)
}

/// Updates all tensors by the kernels that training on the CPU uses.
fn update_on_cpu(tensors: &[WeightUnderTest], gradients: &[Tensor], step: u64) {
    for (of, gradient) in tensors.iter().zip(gradients) {
        of.state.update(&params(step), of.parameter.weights(), gradient);
    }
}

fn check_sums(kind: Kind, device: Device) -> Result<String> {
    let gradients: Vec<Tensor> = COUNTS
        .iter()
        .map(|count| gradient(&[*count], kind, 1, false))
        .collect();
    let on_device: Vec<Tensor> = gradients.iter().map(|x| x.to_device(device)).collect();
    // By both kernels: that of Adafactor's sums takes a vector as a matrix of one row.
    let both = |gradients: &[Tensor]| -> Result<Vec<f64>> {
        let rows = gradients
            .iter()
            .map(|x| (x.shallow_clone(), (1, x.numel() as i64)));
        let (_, squares) = FactoredSums::of(&rows.collect::<Vec<_>>())?;
        Ok([sums_of_squares(gradients)?, squares].concat())
    };
    let sums = both(&on_device)?;
    let (expected, agreement) = match device.is_cuda() {
        true => (both(&gradients)?, Agreement::Exact),
        false => {
            let expected: Vec<f64> = gradients.iter().map(optimizers::sum_of_squares).collect();
            ([expected.clone(), expected].concat(), Agreement::Within(1e-6))
        }
    };
    let mut worst = 0f64;
    for (sum, expected) in sums.into_iter().zip(expected) {
        worst = worst.max((sum - expected).abs() / expected);
    }
    agreement.hold(worst)?;
    Ok(agreement.words(worst))
}

fn check_nf4(kind: Kind, device: Device) -> Result<String> {
    let table = nf4_table();
    for size in NF4_SIZES {
        let count = size.0 * size.1;
        let codes = Tensor::arange(count / 2, (Kind::Int64, Device::Cpu))
            .remainder(251)
            .to_kind(Kind::Uint8);
        let scales = numbers(&[(count + 63) / 64], 5).abs();
        let on_device = [&codes, &scales, &table].map(|x| x.to_device(device));
        let [codes_there, scales_there, table_there] = &on_device;
        let weight = nf4_values(codes_there, scales_there, table_there, size, kind)?;
        let expected = match device.is_cuda() {
            true => nf4_values(&codes, &scales, &table, size, kind)?,
            false => dequantize(
                Nf4Codes {
                    codes: &codes,
                    scales: &scales,
                    table: &table,
                    size,
                },
                kind,
            ),
        };
        compared(&weight, &expected, Agreement::Exact).with_context(|| format!("weights {size:?}"))?;
    }
    Ok(Agreement::Exact.words(0.0))
}

/// Checks norms in both forms, with a residual before, behind and without one.
fn check_rms_norm(kind: Kind, device: Device) -> Result<String> {
    let agreement = match (device.is_cuda(), kind) {
        (true, _) => Agreement::Exact,
        // A sum of squares that differs in its last bit may round a bf16 the other way.
        (false, Kind::BFloat16) => Agreement::Within(1e-2),
        (false, _) => Agreement::Within(1e-6),
    };
    let mut worst = 0f64;
    for width in NORM_WIDTHS {
        let size = [3, width];
        let inputs = [numbers(&size, 1), numbers(&size, 2), numbers(&[width], 3)].map(|x| x.to_kind(kind));
        let [x, residual, weight] = &inputs;
        let there = inputs.each_ref().map(|x| x.to_device(device));
        let [x_there, residual_there, weight_there] = &there;
        for norm in [Norm::Llama, Norm::Gemma] {
            let ours = |residual| rms_norm(norm, x_there, weight_there, residual, 1e-6);
            let twin = |residual| rms_norm(norm, x, weight, residual, 1e-6);
            let on_cpu =
                |x: &Tensor, residual: Option<&Tensor>| shim::rms_norm(norm, x, weight, residual, 1e-6);
            let (plain, _) = ours(NormResidual::None)?;
            let (behind, _) = ours(NormResidual::Behind(residual_there))?;
            let (before, sum) = ours(NormResidual::Before(residual_there))?;
            let expected = match device.is_cuda() {
                true => [
                    twin(NormResidual::None)?.0,
                    twin(NormResidual::Behind(residual))?.0,
                    twin(NormResidual::Before(residual))?.0,
                ],
                false => [
                    on_cpu(x, None),
                    on_cpu(x, Some(residual)),
                    on_cpu(&(x + residual), None),
                ],
            };
            for (ours, expected) in [plain, behind, before].iter().zip(&expected) {
                let apart = compared(ours, expected, agreement);
                worst = worst.max(apart.with_context(|| format!("{norm:?}, width {width}"))?);
            }
            let sum = sum.context("the sum that was normalized")?;
            compared(&sum, &(x + residual), Agreement::Exact).context("sums before the norm")?;
        }
    }
    Ok(agreement.words(worst))
}

/// Checks gated activations of halves of one product.
fn check_gated(kind: Kind, device: Device) -> Result<String> {
    let agreement = match (device.is_cuda(), kind) {
        (true, _) => Agreement::Exact,
        // An activation that differs in its last bit may round a bf16 the other way.
        (false, Kind::BFloat16) => Agreement::Within(1e-2),
        (false, _) => Agreement::Within(1e-6),
    };
    let mut worst = 0f64;
    for width in NORM_WIDTHS {
        let product = (numbers(&[3, 2 * width], 1) * 4.0).to_kind(kind);
        let halves = |product: &Tensor| [0, width].map(|start| product.narrow(1, start, width));
        let [gate_there, up_there] = halves(&product.to_device(device));
        let [gate, up] = halves(&product);
        for activation in [Gate::Silu, Gate::GeluTanh] {
            let ours = gated(activation, &gate_there, &up_there)?;
            let expected = match device.is_cuda() {
                true => gated(activation, &gate, &up)?,
                false => shim::gated(activation, &gate.contiguous(), &up.contiguous()),
            };
            let apart = compared(&ours, &expected, agreement);
            worst = worst.max(apart.with_context(|| format!("{activation:?}, width {width}"))?);
        }
    }
    Ok(agreement.words(worst))
}

impl Agreement {
    fn is_exact(self) -> bool {
        matches!(self, Agreement::Exact)
    }

    fn hold(self, apart: f64) -> Result<()> {
        match self {
            Agreement::Exact => ensure!(apart == 0.0, "apart by {apart:.1e}, must be equal"),
            Agreement::Within(limit) => ensure!(apart <= limit, "apart by {apart:.1e}, allowed {limit:.0e}"),
        }
        Ok(())
    }

    fn words(self, worst: f64) -> String {
        match self {
            Agreement::Exact => "bit-equal".to_owned(),
            Agreement::Within(_) => format!("apart by {worst:.0e}"),
        }
    }
}

/// Compares a tensor of either device with its reference on the CPU. Returns the largest difference
/// as a share of the largest number.
fn compared(ours: &Tensor, expected: &Tensor, agreement: Agreement) -> Result<f64> {
    let ours = ours.to_device(Device::Cpu);
    if let Agreement::Exact = agreement {
        let different = bits(&ours).ne_tensor(&bits(expected));
        let count = different.sum(Kind::Int64).int64_value(&[]);
        ensure!(count == 0, "other bits: {count} of {}", expected.numel());
        return Ok(0.0);
    }
    let (ours, expected) = (ours.to_kind(Kind::Double), expected.to_kind(Kind::Double));
    let largest = expected.abs().max().double_value(&[]).max(1e-12);
    let apart = (ours - expected).abs().max().double_value(&[]) / largest;
    agreement.hold(apart)?;
    Ok(apart)
}

/// Returns the bits of a tensor as integers, so that NaN equals NaN and 0 is not −0.
fn bits(x: &Tensor) -> Tensor {
    match x.kind() {
        Kind::Float => x.view_dtype(Kind::Int),
        Kind::BFloat16 => x.view_dtype(Kind::Int16),
        _ => x.shallow_clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins_agree_with_the_kernels_of_the_cpu_in_every_format() {
        let checks = check_all(Device::Cpu);
        assert_eq!(checks.len(), OPTIMIZERS.len() * WEIGHT_FORMATS.len() + 8);
        for check in &checks {
            assert!(check.passed, "{check:?}");
            assert!(check.speed.is_none(), "{check:?}");
        }
    }

    #[test]
    fn a_difference_in_the_last_bit_fails() {
        let ours = numbers(&[300], 1);
        let expected = ours.copy();
        assert!(compared(&ours, &expected, Agreement::Exact).is_ok());
        let last = ours.get(299);
        last.view_dtype(Kind::Int)
            .copy_(&(last.view_dtype(Kind::Int) + 1));
        let error = compared(&ours, &expected, Agreement::Exact).unwrap_err();
        assert_eq!(error.to_string(), "other bits: 1 of 300");
        assert!(compared(&ours, &expected, Agreement::Within(1e-6)).is_ok());
    }

    #[test]
    fn a_kernel_that_panics_fails_alone() {
        let check = outcome(
            "broken".to_owned(),
            || panic!("no such launch"),
            || unreachable!("a failed kernel is not timed"),
            Device::Cpu,
        );
        assert!(
            !check.passed && check.detail.contains("no such launch"),
            "{check:?}"
        );
    }
}
