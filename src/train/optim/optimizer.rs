//! Updates all parameters of a model: one optimizer, its state of each parameter, and gradient
//! norms.

use super::adafactor::matrix;
use super::offload::GradientBuffers;
use super::parameter::Parameter;
use super::registry;
use super::state::{OptimizerState, StepParams};
use crate::shim::gpu::{FactoredSums, FusedUpdate, SumsOf, sums_of_squares, update_all};
use crate::shim::optimizers as kernels;
use anyhow::{Result, bail};
use ewe::finetune::{Formats, OptimizerKind};
use tch::{Device, Kind, Tensor};

/// Settings of an optimizer. The default is that of `ewe train`.
#[derive(Debug, Clone, Copy, Default)]
pub struct OptimizerConfig {
    /// The optimizer, the format of master weights, and whether both are offloaded.
    pub formats: Formats,
    /// Decoupled weight decay, of matrices only.
    pub weight_decay: f64,
    /// Seed of stochastic rounding.
    pub seed: u64,
}

#[derive(Debug)]
struct Slot {
    state: Box<dyn OptimizerState>,
    /// Updates of the parameter so far; a skipped step does not count.
    steps: u64,
}

/// Norms of gradients, with what the update that follows takes of their computation.
#[derive(Debug)]
pub struct GradientNorms {
    /// Norm of each parameter's gradient in the order of the list; none without one.
    pub each: Vec<Option<f64>>,
    /// Sums of squares on the GPU, and the parameter of each by its index.
    sums: Option<(FactoredSums, Vec<usize>)>,
}

impl GradientNorms {
    fn sums_of(&self, index: usize) -> Option<SumsOf<'_>> {
        let (all, indices) = self.sums.as_ref()?;
        let number = indices.iter().position(|&other| other == index)?;
        Some(SumsOf { all, number })
    }
}

/// An optimizer over a fixed list of parameters.
#[derive(Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    slots: Vec<Slot>,
    /// Where offloaded updates receive gradients.
    buffers: GradientBuffers,
}

impl Optimizer {
    /// Makes an optimizer for `trained` with a state of zeros.
    pub fn new(config: OptimizerConfig, trained: &[Parameter]) -> Optimizer {
        let spec = registry::spec(config.formats.optimizer);
        let slot = |of: &Parameter| Slot {
            state: (spec.new_state)(&of.updated_size(), of.home()),
            steps: 0,
        };
        Optimizer {
            config,
            slots: trained.iter().map(slot).collect(),
            buffers: GradientBuffers::default(),
        }
    }

    /// Updates parameter number `index` with learning rate `rate`, if it has a gradient; the
    /// gradient is multiplied by `factor` first.
    #[cfg(test)]
    pub fn step(&mut self, index: usize, of: &Parameter, rate: f64, factor: f64) {
        self.step_all(&[(index, of)], rate, factor, None);
    }

    /// Returns the norm of the gradient of each of these parameters. On a GPU the host reads once.
    pub fn norms(&self, list: &[(usize, &Parameter)]) -> GradientNorms {
        let on_gpu = list
            .iter()
            .all(|(_, of)| matches!(of.leaf.device(), Device::Cuda(_)));
        self.norms_by(list, on_gpu)
    }

    /// `fused` asks for the GPU's kernels, whose twin runs on the CPU.
    pub(super) fn norms_by(&self, list: &[(usize, &Parameter)], fused: bool) -> GradientNorms {
        let _guard = tch::no_grad_guard();
        if fused {
            match self.norms_by_kernels(list) {
                Ok(norms) => return norms,
                Err(error) => warn_once(&error),
            }
        }
        let norm = |of: &Parameter| Some(sum_of_squares(&of.gradient()?.contiguous()).sqrt());
        GradientNorms {
            each: list.iter().map(|(_, of)| norm(of)).collect(),
            sums: None,
        }
    }

    fn norms_by_kernels(&self, list: &[(usize, &Parameter)]) -> Result<GradientNorms> {
        let gradients = list
            .iter()
            .filter_map(|(index, of)| Some((*index, of.gradient()?.contiguous())))
            .filter(|(_, gradient)| gradient.numel() > 0);
        let (indices, gradients): (Vec<usize>, Vec<Tensor>) = gradients.unzip();
        // Adafactor's running means need sums of the same squares.
        let is_shared = self.config.formats.optimizer == OptimizerKind::Adafactor
            && !list.iter().any(|(_, of)| of.is_away());
        let (sums, squares) = if is_shared {
            let matrices = gradients.into_iter().map(|gradient| {
                let size = matrix(&gradient.size());
                (gradient, size)
            });
            let (sums, squares) = FactoredSums::of(&matrices.collect::<Vec<_>>())?;
            (Some(sums), squares)
        } else {
            (None, sums_of_squares(&gradients)?)
        };
        let norm_of = |(index, _): &(usize, &Parameter)| {
            let number = indices.iter().position(|other| other == index)?;
            Some(squares[number].sqrt())
        };
        Ok(GradientNorms {
            each: list.iter().map(norm_of).collect(),
            sums: sums.map(|sums| (sums, indices)),
        })
    }

    /// Updates all these parameters as [`Optimizer::step`] does. On a GPU that takes a few launches
    /// for all of them together, and fewer bytes with the `norms` of the same gradients.
    pub fn step_all(
        &mut self,
        list: &[(usize, &Parameter)],
        rate: f64,
        factor: f64,
        norms: Option<&GradientNorms>,
    ) {
        let on_gpu = list.iter().all(|(_, of)| matches!(of.home(), Device::Cuda(_)));
        self.step_by(list, (rate, factor), norms, on_gpu);
    }

    /// `fused` asks for the GPU's kernels, whose twin runs on the CPU.
    pub(super) fn step_by(
        &mut self,
        list: &[(usize, &Parameter)],
        (rate, factor): (f64, f64),
        norms: Option<&GradientNorms>,
        fused: bool,
    ) {
        let _guard = tch::no_grad_guard();
        if list.iter().any(|(_, of)| of.is_away()) {
            return self.step_offloaded(list, rate, factor);
        }
        if fused && registry::spec(self.config.formats.optimizer).has_kernels {
            return self.step_fused(list, rate, factor, norms);
        }
        for &(index, of) in list {
            // One gradient at a time: what is made of two parts is gone before the next.
            if let Some(gradient) = gradient_at_home(of) {
                let params = self.next_params(index, of, rate, factor);
                // Another rank may have all of it; steps are counted alike.
                if gradient.numel() == 0 {
                    continue;
                }
                self.update_one(index, of, &params, &gradient);
            }
        }
    }

    fn update_one(&self, index: usize, of: &Parameter, params: &StepParams, gradient: &Tensor) {
        self.slots[index].state.update(params, of.weights(), gradient);
        of.bring_back();
    }

    /// Updates all these parameters by the GPU's kernels, or one after the other where there are
    /// none.
    fn step_fused(
        &mut self,
        list: &[(usize, &Parameter)],
        rate: f64,
        factor: f64,
        norms: Option<&GradientNorms>,
    ) {
        let mut steps = Vec::with_capacity(list.len());
        for &(index, of) in list {
            if let Some(gradient) = gradient_at_home(of) {
                let params = self.next_params(index, of, rate, factor);
                if gradient.numel() > 0 {
                    steps.push((index, of, params, gradient));
                }
            }
        }
        let updates = steps.iter().map(|(index, of, params, gradient)| {
            let state = &self.slots[*index].state;
            let update = state.fused(params, of.weights(), gradient.shallow_clone());
            let mut update = update.expect("an optimizer with kernels");
            if let FusedUpdate::Adafactor(update) = &mut update {
                update.sums = norms.and_then(|norms| norms.sums_of(*index));
            }
            update
        });
        match update_all(updates.collect()) {
            Ok(()) => steps.iter().for_each(|(_, of, ..)| of.bring_back()),
            Err(error) => {
                warn_once(&error);
                for (index, of, params, gradient) in steps {
                    self.update_one(index, of, &params, &gradient);
                }
            }
        }
    }

    /// Updates parameters whose weights are offloaded: one gradient after the other comes down,
    /// while the one before is used.
    fn step_offloaded(&mut self, list: &[(usize, &Parameter)], rate: f64, factor: f64) {
        let mut buffers = std::mem::take(&mut self.buffers);
        let done = buffers.update_each(list, |index, of, gradient| {
            let params = self.next_params(index, of, rate, factor);
            self.slots[index].state.update(&params, of.weights(), gradient);
        });
        self.buffers = buffers;
        done.expect("host memory for two gradients");
    }

    /// Counts a step of parameter number `index`, and returns its numbers.
    fn next_params(&mut self, index: usize, of: &Parameter, rate: f64, factor: f64) -> StepParams {
        let slot = &mut self.slots[index];
        slot.steps += 1;
        // Pieces of a tensor on several ranks draw apart.
        let seed = self.config.seed ^ (of.first() as u64).rotate_left(32);
        let drawn = crate::train::draw(seed, "rounding", (slot.steps << 20) + index as u64);
        let decay = if of.decays { self.config.weight_decay } else { 0.0 };
        StepParams {
            rate,
            factor,
            decay: 1.0 - rate * decay,
            step: slot.steps,
            key: [drawn as u32, (drawn >> 32) as u32],
        }
    }

    /// Returns the state of all parameters, by name: the tensors of each and its count of steps.
    pub fn state(&self, trained: &[Parameter]) -> Vec<(String, Tensor)> {
        let mut all = Vec::new();
        for (of, slot) in trained.iter().zip(&self.slots) {
            let tensors = slot.state.tensors().into_iter();
            all.extend(tensors.map(|(kept, x)| (format!("{kept}.{}", of.name), x.shallow_clone())));
            all.push((format!("steps.{}", of.name), Tensor::from(slot.steps as i64)));
        }
        all
    }

    /// Restores what [`Optimizer::state`] returned; `take` finds a tensor by name. Fails if one is
    /// missing or of another size.
    pub fn restore(
        &mut self,
        trained: &[Parameter],
        take: &mut dyn FnMut(&str) -> Option<Tensor>,
    ) -> Result<()> {
        let _guard = tch::no_grad_guard();
        for (of, slot) in trained.iter().zip(&mut self.slots) {
            for (kept, tensor) in slot.state.tensors() {
                let saved = take(&format!("{kept}.{}", of.name));
                match saved.and_then(|saved| of.own_part(saved)) {
                    Some(saved) if saved.size() == tensor.size() && saved.kind() == tensor.kind() => {
                        tensor.shallow_clone().copy_(&saved);
                    }
                    _ => bail!(
                        "the optimizer's {kept} of {} is missing or of another size",
                        of.name
                    ),
                }
            }
            match take(&format!("steps.{}", of.name)) {
                Some(steps) => slot.steps = steps.int64_value(&[]) as u64,
                None => bail!("the optimizer's step count of {} is missing", of.name),
            }
        }
        Ok(())
    }
}

/// Says once that a GPU updates by libtorch's operations, which move ten times the bytes.
fn warn_once(error: &anyhow::Error) {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| tracing::warn!("updates run without kernels of their own, and take longer: {error:#}"));
}

/// Returns the norm of a parameter's gradient, none without one.
#[cfg(test)]
pub fn norm(of: &Parameter) -> Option<f64> {
    let _guard = tch::no_grad_guard();
    Some(sum_of_squares(&of.gradient()?.contiguous()).sqrt())
}

/// Returns a parameter's gradient as its update takes it, none without one.
fn gradient_at_home(of: &Parameter) -> Option<Tensor> {
    Some(of.gradient()?.to_device(of.home()).contiguous())
}

/// Returns the sum of squares of one gradient.
fn sum_of_squares(gradient: &Tensor) -> f64 {
    if gradient.device() == Device::Cpu {
        return kernels::sum_of_squares(gradient);
    }
    let norm = gradient.norm_scalaropt_dtype(2.0, Kind::Float).double_value(&[]);
    norm * norm
}

/// Returns the norm over all gradients together, from the norm of each; not finite if any is not.
pub fn global_norm(norms: impl IntoIterator<Item = f64>) -> f64 {
    norms.into_iter().map(|norm| norm * norm).sum::<f64>().sqrt()
}

/// Returns the factor of all gradients that brings their global norm down to `clip`; 0 does not
/// clip. The 1e-6 is that of PyTorch's `clip_grad_norm_`.
pub fn clip_factor(norm: f64, clip: f64) -> f64 {
    if clip > 0.0 {
        (clip / (norm + 1e-6)).min(1.0)
    } else {
        1.0
    }
}
