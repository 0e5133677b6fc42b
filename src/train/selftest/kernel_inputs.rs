//! Weights, optimizer state and gradients for the checks of [`super::kernels`].

use crate::shim::gpu::FusedUpdate;
use crate::train::optim::parameter::Parameter;
use crate::train::optim::registry;
use crate::train::optim::state::{OptimizerState, StepParams};
use ewe::finetune::{Master, OptimizerKind};
use tch::{Device, Kind, Tensor};

/// A storage format of weights.
pub struct WeightFormat {
    /// Its name in the kernels.
    pub name: &'static str,
    /// Type of the weight that the model computes with.
    pub kind: Kind,
    /// What is stored beside a bf16 weight.
    pub master: Master,
    /// Bytes that an update reads and writes for each weight, its master included.
    pub bytes_moved: f64,
}

/// Every storage format of weights.
pub const WEIGHT_FORMATS: [WeightFormat; 4] = [
    WeightFormat {
        name: "fp32",
        kind: Kind::Float,
        master: Master::Split,
        bytes_moved: 8.0,
    },
    // The bf16 is only written.
    WeightFormat {
        name: "copy",
        kind: Kind::BFloat16,
        master: Master::Fp32,
        bytes_moved: 10.0,
    },
    WeightFormat {
        name: "split",
        kind: Kind::BFloat16,
        master: Master::Split,
        bytes_moved: 8.0,
    },
    WeightFormat {
        name: "stochastic",
        kind: Kind::BFloat16,
        master: Master::Stochastic,
        bytes_moved: 4.0,
    },
];

/// A weight with the state of its optimizer.
pub struct WeightUnderTest {
    /// The weight.
    pub parameter: Parameter,
    /// The state, zero at first.
    pub state: Box<dyn OptimizerState>,
}

impl WeightUnderTest {
    /// Stores fp32 `values` in `format` on `device`.
    pub fn new(
        values: &Tensor,
        format: &WeightFormat,
        optimizer: OptimizerKind,
        device: Device,
    ) -> WeightUnderTest {
        let values = values.to_device(device);
        let leaf = values.copy().to_kind(format.kind);
        let state = (registry::spec(optimizer).new_state)(&values.size(), device);
        WeightUnderTest {
            parameter: Parameter::new("weight".to_owned(), leaf, Some(values), format.master),
            state,
        }
    }

    /// Returns one update as the kernels for GPUs take it.
    pub fn fused<'a>(&'a self, params: &StepParams, gradient: &Tensor) -> FusedUpdate<'a> {
        let gradient = gradient.to_device(self.parameter.home());
        let update = self.state.fused(params, self.parameter.weights(), gradient);
        update.expect("an optimizer with kernels")
    }

    /// Returns the tensors of the weight and its state by name, each with that of `other`: as they
    /// are stored, or the weight in fp32, since the parts of a split master mean little by
    /// themselves.
    pub fn pairs(&self, other: &WeightUnderTest, as_stored: bool) -> Vec<(&'static str, (Tensor, Tensor))> {
        self.tensors(as_stored)
            .into_iter()
            .zip(other.tensors(as_stored))
            .map(|((name, ours), (_, theirs))| (name, (ours, theirs)))
            .collect()
    }

    fn tensors(&self, as_stored: bool) -> Vec<(&'static str, Tensor)> {
        let mut all = match as_stored {
            true => vec![("leaf", self.parameter.leaf.detach())],
            false => vec![("weight", self.parameter.values())],
        };
        if as_stored {
            all.extend(self.parameter.tensors());
        }
        let state = self.state.tensors().into_iter();
        all.extend(state.map(|(name, x)| (name, x.shallow_clone())));
        all
    }
}

/// Returns the numbers of update number `step`.
pub fn params(step: u64) -> StepParams {
    StepParams {
        rate: 2e-3,
        factor: 0.7,
        decay: if step.is_multiple_of(2) { 1.0 } else { 0.99 },
        step,
        key: [step as u32 * 77 + 5, 0x1234_5678],
    }
}

/// Returns fp32 numbers of both signs on the CPU, the same every time.
pub fn numbers(size: &[i64], seed: i64) -> Tensor {
    let count: i64 = size.iter().product();
    let x = (Tensor::arange(count, (Kind::Double, Device::Cpu)) * 0.7371 + seed as f64).sin() * 2.3;
    x.reshape(size).to_kind(Kind::Float)
}

/// Returns a gradient on the CPU. With `silent_blocks`, a third of the blocks of 256 elements is
/// zero, as in the embedding of tokens that a step does not have.
pub fn gradient(size: &[i64], kind: Kind, seed: u64, silent_blocks: bool) -> Tensor {
    let x = numbers(size, seed as i64) * 0.01;
    if !silent_blocks {
        return x.to_kind(kind);
    }
    let block = Tensor::arange(x.numel() as i64, (Kind::Int64, Device::Cpu)).floor_divide_scalar(256);
    let silent = block.remainder(3).eq(1).view(size);
    x.masked_fill(&silent, 0.0).to_kind(kind)
}

/// Returns a table of levels, fp32 `[256, 2]`, as two weights in 4 bits index it by their byte. Any
/// numbers do: the kernels only look them up.
pub fn nf4_table() -> Tensor {
    numbers(&[256, 2], 6)
}
