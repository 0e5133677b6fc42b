//! What an update asks of a GPU: bytes for each parameter in the GPU's kernels, whose lines also
//! run here, and launches in libtorch's operations, which take their place where the kernels cannot
//! be compiled.

use super::optim::adafactor::AdafactorState;
use super::optim::adamw::AdamwState;
use super::optim::fallback::OPERATIONS;
use super::optim::state::{OptimizerState, StepParams};
use crate::shim::gpu::{FactoredSums, sums_of_squares, update_all};
use crate::shim::optimizers::{AdamwStep, FactoredStep, WeightTensors};
use crate::shim::trace::{Counts, KernelWeights, Trace, bytes_of_adafactor, bytes_of_adamw};
use tch::{Device, Kind, Tensor};

/// Elements of a block of 8-bit moments, which share two scales.
const BLOCK: f64 = 256.0;
/// Rows and columns of a tile, of which Adafactor's kernels keep sums.
const TILE: (f64, f64) = (64.0, 256.0);
/// Passes of Adafactor over a gradient: size of the update, update. A third one, sums of squares,
/// is that of the norm, which every optimizer needs.
const ADAFACTOR_PASSES: f64 = 2.0;

const FORMATS: [KernelWeights; 4] = [
    KernelWeights::Fp32,
    KernelWeights::Copy,
    KernelWeights::Split,
    KernelWeights::Stochastic,
];

/// Returns the bytes that an update reads and writes of one weight.
fn weight_bytes(format: KernelWeights) -> f64 {
    match format {
        KernelWeights::Fp32 => 4.0 + 4.0,
        // The master is read, and both are written.
        KernelWeights::Copy => 4.0 + 4.0 + 2.0,
        KernelWeights::Split => (2.0 + 2.0) + (2.0 + 2.0),
        KernelWeights::Stochastic => 2.0 + 2.0,
    }
}

fn gradient_bytes(is_bf16: bool) -> f64 {
    if is_bf16 { 2.0 } else { 4.0 }
}

/// Returns the bytes for each parameter of AdamW's kernel: those of whole tensors, and those of
/// scales.
fn adamw_bytes(format: KernelWeights, in_8_bits: bool, is_bf16: bool) -> (f64, f64) {
    let one = if in_8_bits { 1.0 } else { 4.0 };
    let moments = 2.0 * (one + one);
    let scales = if in_8_bits { 2.0 * (4.0 + 4.0) / BLOCK } else { 0.0 };
    (weight_bytes(format) + moments + gradient_bytes(is_bf16), scales)
}

/// Returns the bytes for each parameter of Adafactor's kernels behind those of norms, of a matrix
/// of whole tiles: those of whole tensors, and those of sums and means.
fn adafactor_bytes(format: KernelWeights, is_bf16: bool) -> (f64, f64) {
    // Sums of rows and columns are read; both means are read for every tile, once to measure and
    // once to update.
    let sums = 4.0 / TILE.0 + 4.0 / TILE.1;
    let means = 2.0 * (4.0 / TILE.0 + 4.0 / TILE.1);
    let whole = weight_bytes(format) + ADAFACTOR_PASSES * gradient_bytes(is_bf16);
    (whole, sums + means)
}

/// The formulas are what the kernels touch, byte by byte.
#[test]
fn the_kernels_touch_the_bytes_of_the_formulas() {
    for format in FORMATS {
        for is_bf16 in [false, true] {
            for in_8_bits in [false, true] {
                for count in [1, 255, 1000, 1 << 14] {
                    let (whole, _) = adamw_bytes(format, in_8_bits, is_bf16);
                    assert_eq!(
                        bytes_of_adamw(format, in_8_bits, is_bf16, count) as f64,
                        whole * count as f64,
                        "{format:?} 8 bits {in_8_bits} bf16 {is_bf16} {count}"
                    );
                }
            }
            let (whole, _) = adafactor_bytes(format, is_bf16);
            assert_eq!(
                bytes_of_adafactor(format, is_bf16, 128, 512) as f64,
                whole * f64::from(128 * 512),
                "{format:?} bf16 {is_bf16}"
            );
        }
    }
}

/// AdamW takes at most 30 bytes for each parameter, 8-bit AdamW 16, and Adafactor 12 in bf16 with
/// stochastic rounding.
#[test]
fn the_kernels_stay_within_their_bytes() {
    let sum = |(whole, rest): (f64, f64)| whole + rest;
    let (split, stochastic) = (KernelWeights::Split, KernelWeights::Stochastic);
    for is_bf16 in [false, true] {
        for format in FORMATS {
            let bytes = sum(adamw_bytes(format, false, is_bf16));
            assert!(bytes <= 30.0, "AdamW, {format:?} bf16 {is_bf16}: {bytes}");
        }
    }
    // Gradients are bf16 where a step is one micro-batch, and summed in fp32 where it is several.
    // Above their targets of 16 and 12, and held where they are today: fp32 gradients with a split
    // master, and Adafactor with either. A split master and two readings of a bf16 gradient are 12
    // bytes, so that only the sums of rows and columns are above.
    for (format, is_bf16, most) in [
        (split, true, 16.0),
        (stochastic, true, 16.0),
        (stochastic, false, 16.0),
        (split, false, 16.1),
    ] {
        let bytes = sum(adamw_bytes(format, true, is_bf16));
        assert!(bytes <= most, "8-bit AdamW, {format:?} bf16 {is_bf16}: {bytes}");
    }
    for (format, is_bf16, most) in [
        (stochastic, true, 8.3),
        (split, true, 12.3),
        (stochastic, false, 12.3),
        (split, false, 16.3),
    ] {
        let bytes = sum(adafactor_bytes(format, is_bf16));
        assert!(bytes <= most, "Adafactor, {format:?} bf16 {is_bf16}: {bytes}");
    }
}

/// Parameters of the updates below: several blocks, one chunk.
const SIDE: i64 = 256;

/// Returns the tensors of a weight: the one that the model computes with, and what is kept beside
/// it.
fn tensors(format: KernelWeights) -> (Tensor, Tensor) {
    let exact = Tensor::ones([SIDE * SIDE], (Kind::Float, Device::Cpu));
    let half = exact.to_kind(Kind::BFloat16);
    match format {
        KernelWeights::Fp32 => (exact.copy(), exact),
        KernelWeights::Split => (half, Tensor::zeros([SIDE * SIDE], (Kind::Int16, Device::Cpu))),
        KernelWeights::Copy | KernelWeights::Stochastic => (half, exact),
    }
}

fn weights<'a>(format: KernelWeights, (weight, beside): &'a (Tensor, Tensor)) -> WeightTensors<'a> {
    match format {
        KernelWeights::Fp32 => WeightTensors::Fp32(weight),
        KernelWeights::Copy => WeightTensors::Copy(weight, beside),
        KernelWeights::Split => WeightTensors::Split(weight, beside),
        KernelWeights::Stochastic => WeightTensors::Drawn(weight),
    }
}

fn gradient() -> Tensor {
    Tensor::ones([SIDE, SIDE], (Kind::BFloat16, Device::Cpu))
}

fn moments(in_8_bits: bool) -> AdamwState {
    match in_8_bits {
        true => AdamwState::eight(SIDE * SIDE, Device::Cpu),
        false => AdamwState::fp32(SIDE * SIDE, Device::Cpu),
    }
}

fn traced(f: impl FnOnce()) -> Counts {
    let _guard = tch::no_grad_guard();
    let trace = Trace::begin().unwrap();
    f();
    trace.end()
}

/// Asserts the launches of an update by operations, its bytes for each parameter, and that the host
/// reads nothing.
fn within(counts: &Counts, launches: i64, bytes: f64, what: &str) {
    let each = counts.bytes as f64 / (SIDE * SIDE) as f64;
    let by_name = counts.launches_by_name();
    assert!(
        counts.launches <= launches,
        "{what}: {} {by_name}",
        counts.launches
    );
    assert!(each <= bytes, "{what}: bytes: {each}, {by_name}");
    assert_eq!(counts.reads, 0, "{what}");
}

/// Held where they are today. The kernels take one launch for all tensors together.
#[test]
fn adamw_by_operations_launches_no_more_than_it_does_today() {
    let step = AdamwStep {
        factor: 0.7,
        decay: 0.999,
        rate: -0.02,
        first_share: 0.1,
        second_kept: 0.999,
        second_share: 0.001,
        second_bias: 3.0,
        eps: 1e-8,
        key: [5, 77],
    };
    for (format, in_8_bits, launches, bytes) in [
        (KernelWeights::Fp32, false, 19, 175.0),
        (KernelWeights::Copy, false, 23, 201.0),
        (KernelWeights::Split, false, 29, 243.0),
        (KernelWeights::Stochastic, false, 40, 487.0),
        (KernelWeights::Fp32, true, 107, 1061.0),
        (KernelWeights::Copy, true, 111, 1087.0),
        (KernelWeights::Split, true, 117, 1129.0),
        (KernelWeights::Stochastic, true, 128, 1373.0),
    ] {
        let (of, state, gradient) = (tensors(format), moments(in_8_bits), gradient());
        let counts =
            traced(|| (OPERATIONS.adamw)(&step, weights(format, &of), state.as_kernels(), &gradient));
        let what = format!("{format:?}, 8 bits {in_8_bits}");
        within(&counts, launches, bytes, &what);
    }
}

/// Held where they are today. The kernels take five launches for all matrices together, behind two
/// for their norms.
#[test]
fn adafactor_by_operations_launches_no_more_than_it_does_today() {
    let step = FactoredStep {
        factor: 0.7,
        decay: 0.999,
        rate: -0.02,
        key: [5, 77],
    };
    for (format, launches, bytes) in [
        (KernelWeights::Fp32, 25, 139.0),
        (KernelWeights::Copy, 29, 165.0),
        (KernelWeights::Split, 35, 207.0),
        (KernelWeights::Stochastic, 46, 451.0),
    ] {
        let (of, gradient_rc) = (tensors(format), gradient());
        let ones = Tensor::ones([SIDE], (Kind::Float, Device::Cpu));
        let counts = traced(|| {
            let _ = (OPERATIONS.squares)(&gradient_rc, step.factor);
            let _ = (OPERATIONS.scaled_squares)(&gradient_rc, step.factor, &ones, &ones);
            (OPERATIONS.factored)(&step, weights(format, &of), &gradient_rc, &ones, &ones);
        });
        within(&counts, launches, bytes, &format!("{format:?}"));
    }
}

/// However many gradients there are, of both types.
#[test]
fn norms_by_kernels_are_read_once() {
    let gradients: Vec<Tensor> = [gradient(), gradient().to_kind(Kind::Float), gradient()].into();
    let counts = traced(|| {
        sums_of_squares(&gradients).unwrap();
    });
    assert!(counts.reads <= 1, "{counts:?}");
    let matrices: Vec<(Tensor, (i64, i64))> = gradients.into_iter().map(|x| (x, (SIDE, SIDE))).collect();
    let counts = traced(|| {
        FactoredSums::of(&matrices).unwrap();
    });
    assert!(counts.reads <= 1, "{counts:?}");
}

/// The host's part of an update by our kernels: a table of the tensors, and no read.
#[test]
fn an_update_by_kernels_reads_nothing() {
    let params = StepParams {
        rate: 0.01,
        factor: 1.0,
        decay: 0.99,
        step: 3,
        key: [5, 77],
    };
    let of: Vec<(Tensor, Tensor)> = (0..6).map(|_| tensors(KernelWeights::Split)).collect();
    let states: Vec<Box<dyn OptimizerState>> = (0..6)
        .map(|index| -> Box<dyn OptimizerState> {
            match index % 3 {
                2 => Box::new(AdafactorState::zeros(&[SIDE, SIDE], Device::Cpu)),
                rest => Box::new(moments(rest == 1)),
            }
        })
        .collect();
    let gradients: Vec<Tensor> = (0..6).map(|_| gradient()).collect();
    let counts = traced(|| {
        let updates = of
            .iter()
            .zip(&states)
            .zip(&gradients)
            .map(|((of, state), gradient)| {
                let weights = weights(KernelWeights::Split, of);
                state.fused(&params, weights, gradient.shallow_clone()).unwrap()
            });
        update_all(updates.collect()).unwrap();
    });
    assert_eq!(counts.reads, 0, "{counts:?}");
    // A table for each of three formats, set to zero by the host before it writes it.
    assert!(counts.launches <= 3, "{}", counts.launches_by_name());
}
