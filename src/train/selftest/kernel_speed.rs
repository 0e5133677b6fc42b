//! Speed of the GPU kernels on 64M parameters. Only a GPU runs this.
//!
//! Bytes are those that a kernel must read and write; caches are not counted. A rate near that of
//! the card's memory means that a kernel cannot be faster.

use super::kernel_inputs::{WeightFormat, WeightUnderTest, nf4_table, params};
use crate::shim::gpu::{NormResidual, gated, nf4_values, rms_norm, sums_of_squares, update_all};
use crate::shim::{Gate, Norm};
use anyhow::Result;
use ewe::finetune::OptimizerKind;
use serde::Serialize;
use std::time::Instant;
use tch::{Device, Kind, Tensor};

/// The timed matrix, of 2²⁶ parameters.
const SIDE: i64 = 1 << 13;
const COUNT: i64 = SIDE * SIDE;
/// Untimed runs, of which the first compiles the kernel.
const WARM_UP: u64 = 2;
/// Timed runs between two waits for the device.
const RUNS: u64 = 10;
/// Weights that share a scale in NF4, and bytes of a scale.
const NF4_SCALE: f64 = 4.0 / 64.0;

/// The speed of a kernel.
#[derive(Debug, Serialize)]
pub struct KernelSpeed {
    /// Bytes read and written for each parameter.
    pub bytes_per_parameter: f64,
    /// Milliseconds for 2²⁶ parameters, launch included.
    pub ms: f64,
    /// 10⁹ bytes per second.
    pub gb_per_s: f64,
}

/// Times updates with bf16 gradients.
pub fn of_updates(optimizer: OptimizerKind, format: &WeightFormat, device: Device) -> Result<KernelSpeed> {
    let random = |scale: f64| Tensor::randn([SIDE, SIDE], (Kind::Float, device)) * scale;
    let tensor = WeightUnderTest::new(&random(0.02), format, optimizer, device);
    let gradient = random(0.01).to_kind(Kind::BFloat16);
    let mut step = 0;
    timed(format.bytes_moved + state_bytes_moved(optimizer), device, || {
        step += 1;
        update_all(vec![tensor.fused(&params(step), &gradient)])
    })
}

/// Returns the bytes of optimizer state and of a bf16 gradient that an update reads and writes for
/// each parameter. Adafactor without the sums of a norm reads the gradient three times; its state
/// is negligible.
fn state_bytes_moved(optimizer: OptimizerKind) -> f64 {
    match optimizer {
        OptimizerKind::Adamw => 16.0 + 2.0,
        OptimizerKind::Lion => 8.0 + 2.0,
        // Two scales for each block of 256.
        OptimizerKind::Adamw8bit => 4.0 + 16.0 / 256.0 + 2.0,
        OptimizerKind::Adafactor => 3.0 * 2.0,
    }
}

/// Times the norm of a gradient of type `kind`. Its read by the host is included, as in training.
pub fn of_sums(kind: Kind, device: Device) -> Result<KernelSpeed> {
    let gradients = [Tensor::randn([COUNT], (Kind::Float, device)).to_kind(kind)];
    timed(kind.elt_size_in_bytes() as f64, device, || {
        sums_of_squares(&gradients).map(|_| ())
    })
}

/// Times NF4 to `kind`.
pub fn of_nf4(kind: Kind, device: Device) -> Result<KernelSpeed> {
    let codes = Tensor::randint(256, [COUNT / 2], (Kind::Uint8, device));
    let scales = Tensor::rand([COUNT / 64], (Kind::Float, device));
    let table = nf4_table().to_device(device);
    let bytes = 0.5 + NF4_SCALE + kind.elt_size_in_bytes() as f64;
    timed(bytes, device, || {
        nf4_values(&codes, &scales, &table, (SIDE, SIDE), kind).map(|_| ())
    })
}

/// Times the norm of rows of `kind`, with the sum before it: for each element two are read and two
/// are written.
pub fn of_rms_norm(kind: Kind, device: Device) -> Result<KernelSpeed> {
    let random = || Tensor::randn([SIDE, SIDE], (Kind::Float, device)).to_kind(kind);
    let (x, residual) = (random(), random());
    let weight = Tensor::ones([SIDE], (kind, device));
    timed(4.0 * kind.elt_size_in_bytes() as f64, device, || {
        rms_norm(Norm::Llama, &x, &weight, NormResidual::Before(&residual), 1e-6).map(|_| ())
    })
}

/// Times gated activations of `kind`: for each element two are read and one is written.
pub fn of_gated(kind: Kind, device: Device) -> Result<KernelSpeed> {
    let random = || Tensor::randn([SIDE, SIDE], (Kind::Float, device)).to_kind(kind);
    let (gate, up) = (random(), random());
    timed(3.0 * kind.elt_size_in_bytes() as f64, device, || {
        gated(Gate::Silu, &gate, &up).map(|_| ())
    })
}

fn timed(
    bytes_per_parameter: f64,
    device: Device,
    mut run: impl FnMut() -> Result<()>,
) -> Result<KernelSpeed> {
    for _ in 0..WARM_UP {
        run()?;
    }
    wait(device);
    let begun = Instant::now();
    for _ in 0..RUNS {
        run()?;
    }
    wait(device);
    let seconds = begun.elapsed().as_secs_f64() / RUNS as f64;
    Ok(KernelSpeed {
        bytes_per_parameter,
        ms: 1e3 * seconds,
        gb_per_s: bytes_per_parameter * COUNT as f64 / seconds / 1e9,
    })
}

/// Waits until the device has done all that was launched: kernels run in order on one stream, and
/// reading an element waits for it.
pub fn wait(device: Device) {
    let _ = Tensor::zeros([1], (Kind::Float, device)).double_value(&[0]);
}
