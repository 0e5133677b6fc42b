//! The optimizers that there are: the state of each, its bytes, and what using it costs.

use super::adafactor::AdafactorState;
use super::adamw::AdamwState;
use super::lion::LionState;
use super::state::{OptimizerState, TrainedSizes};
use crate::shim::optimizers::BLOCK;
use ewe::finetune::OptimizerKind;
use tch::Device;

/// One optimizer.
pub struct OptimizerSpec {
    /// Its name on the command line and in checkpoints.
    pub kind: OptimizerKind,
    /// Returns the state, all zero, of a tensor of this size.
    pub new_state: fn(&[i64], Device) -> Box<dyn OptimizerState>,
    /// Returns the bytes of the state of all trained tensors.
    pub state_bytes: fn(&TrainedSizes) -> u64,
    /// What `ewe plan` counts for a switch to it from one with more state: a share of the run's
    /// time, or what people would give for its quality. Only the order of such costs matters.
    pub cost: f64,
    /// Whether the GPU's kernels update by it; otherwise libtorch's operations do, on all devices.
    pub has_kernels: bool,
}

/// All optimizers, by decreasing size of their state.
pub static OPTIMIZERS: [OptimizerSpec; 4] = [
    OptimizerSpec {
        kind: OptimizerKind::Adamw,
        new_state: |size, device| Box::new(AdamwState::fp32(size.iter().product(), device)),
        state_bytes: |of| 2 * (of.bytes)(4),
        cost: 0.0,
        has_kernels: true,
    },
    OptimizerSpec {
        kind: OptimizerKind::Lion,
        new_state: |size, device| Box::new(LionState::zeros(size.iter().product(), device)),
        state_bytes: |of| (of.bytes)(4),
        // Less than Adafactor's, but it takes another learning rate.
        cost: 0.5,
        has_kernels: false,
    },
    OptimizerSpec {
        kind: OptimizerKind::Adamw8bit,
        new_state: |size, device| Box::new(AdamwState::eight(size.iter().product(), device)),
        state_bytes: |of| 2 * (of.bytes)(1) + 2 * 4 * of.numbers.div_ceil(BLOCK as u64),
        cost: 0.08,
        has_kernels: true,
    },
    OptimizerSpec {
        kind: OptimizerKind::Adafactor,
        new_state: |size, device| Box::new(AdafactorState::zeros(size, device)),
        state_bytes: |of| 4 * of.rows_and_columns,
        cost: 1.0,
        has_kernels: true,
    },
];

/// Returns the entry of `kind`.
pub fn spec(kind: OptimizerKind) -> &'static OptimizerSpec {
    let found = OPTIMIZERS.iter().find(|spec| spec.kind == kind);
    found.expect("every optimizer has an entry, as a test checks")
}

/// Returns the optimizers with less state than `kind`, the largest first.
pub fn smaller(kind: OptimizerKind) -> impl Iterator<Item = &'static OptimizerSpec> {
    OPTIMIZERS
        .iter()
        .skip_while(move |spec| spec.kind != kind)
        .skip(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_optimizer_has_an_entry() {
        for kind in OptimizerKind::value_variants() {
            assert_eq!(spec(*kind).kind, *kind);
        }
        assert_eq!(OptimizerKind::value_variants().len(), OPTIMIZERS.len());
    }

    /// The bytes that the memory estimate counts are those of the tensors.
    #[test]
    fn state_bytes_are_those_of_the_tensors() {
        let size = [64, 32];
        let numbers = size.iter().product::<i64>() as u64;
        for spec in &OPTIMIZERS {
            let state = (spec.new_state)(&size, Device::Cpu);
            let bytes = |x: &tch::Tensor| (x.numel() * x.kind().elt_size_in_bytes()) as u64;
            let allocated: u64 = state.tensors().into_iter().map(|(_, x)| bytes(x)).sum();
            let sizes = TrainedSizes {
                numbers,
                rows_and_columns: (size[0] + size[1]) as u64,
                bytes: &|each| each * numbers,
            };
            assert_eq!((spec.state_bytes)(&sizes), allocated, "{:?}", spec.kind);
        }
    }
}
