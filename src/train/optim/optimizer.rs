//! What moves the weights: one of the update rules for each tensor, its state, and the size of gradients.

use super::adafactor::Factored;
use super::adamw::AdamwState;
use super::parameter::Parameter;
use crate::shim::optimizers as kernels;
use anyhow::{Result, bail};
use ewe::cli::models::train::{Master, OptimizerKind};
use tch::{Device, Kind, Tensor};

/// How weights are moved.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// By what.
    pub optimizer: OptimizerKind,
    /// What is kept of a weight beside its bf16.
    pub master: Master,
    /// Decoupled, of matrices.
    pub weight_decay: f64,
    /// Whether weights are moved in the machine's own memory, where their masters and moments then are.
    pub offload: bool,
    /// Of what is rounded by chance.
    pub seed: u64,
}

impl Default for Rule {
    /// The command's defaults.
    fn default() -> Rule {
        Rule {
            optimizer: OptimizerKind::Adamw,
            master: Master::Split,
            weight_decay: 0.0,
            offload: false,
            seed: 0,
        }
    }
}

/// One step of one tensor.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// The learning rate.
    pub rate: f64,
    /// Gradients are first multiplied by this.
    pub factor: f64,
    /// Weights are first multiplied by this.
    pub decay: f64,
    /// Steps that this tensor has seen, this one counted.
    pub step: u64,
    /// Decides how weights are rounded.
    pub key: [u32; 2],
}

#[derive(Debug)]
enum Memory {
    AdamW(AdamwState),
    Adafactor(Factored),
}

impl Memory {
    fn tensors(&self) -> Vec<(&'static str, &Tensor)> {
        match self {
            Memory::AdamW(moments) => moments.tensors(),
            Memory::Adafactor(factored) => factored.tensors(),
        }
    }
}

#[derive(Debug)]
struct State {
    memory: Memory,
    /// Steps this tensor has seen; a skipped step does not count.
    steps: u64,
}

/// An update rule over a fixed list of tensors.
#[derive(Debug)]
pub struct Optimizer {
    rule: Rule,
    states: Vec<State>,
}

impl Optimizer {
    /// With nothing remembered.
    pub fn new(rule: Rule, trained: &[Parameter]) -> Optimizer {
        let memory = |of: &Parameter| {
            let (leaf, device) = (&of.leaf, of.home());
            let count = leaf.numel() as i64;
            match rule.optimizer {
                OptimizerKind::Adamw => Memory::AdamW(AdamwState::fp32(count, device)),
                OptimizerKind::Adamw8bit => Memory::AdamW(AdamwState::eight(count, device)),
                OptimizerKind::Adafactor => Memory::Adafactor(Factored::zeros(&leaf.size(), device)),
            }
        };
        let state = |of: &Parameter| State {
            memory: memory(of),
            steps: 0,
        };
        Optimizer {
            rule,
            states: trained.iter().map(state).collect(),
        }
    }

    /// One step with learning rate `rate` of the tensor number `index`, if it has a gradient, which is first multiplied by `factor`.
    pub fn step(&mut self, index: usize, of: &Parameter, rate: f64, factor: f64) {
        let _guard = tch::no_grad_guard();
        let Some(gradient) = of.gradient() else { return };
        let state = &mut self.states[index];
        state.steps += 1;
        let drawn = crate::train::draw(self.rule.seed, "rounding", (state.steps << 20) + index as u64);
        let decay = if of.decays { self.rule.weight_decay } else { 0.0 };
        let change = Change {
            rate,
            factor,
            decay: 1.0 - rate * decay,
            step: state.steps,
            key: [drawn as u32, (drawn >> 32) as u32],
        };
        let gradient = gradient.to_device(of.home()).contiguous();
        match &state.memory {
            Memory::AdamW(moments) => moments.update(&change, of.weights(), &gradient),
            Memory::Adafactor(factored) => factored.update(&change, of.weights(), &gradient),
        }
        of.bring_back();
    }

    /// Everything needed to continue: `(name, tensor)`, of each tensor what the rule remembers, and a step count.
    pub fn state(&self, trained: &[Parameter]) -> Vec<(String, Tensor)> {
        let mut all = Vec::new();
        for (of, state) in trained.iter().zip(&self.states) {
            let remembered = state.memory.tensors().into_iter();
            all.extend(remembered.map(|(kept, x)| (format!("{kept}.{}", of.name), x.shallow_clone())));
            all.push((format!("steps.{}", of.name), Tensor::from(state.steps as i64)));
        }
        all
    }

    /// Takes over what [`Optimizer::state`] gave; `take` finds a tensor by name. Fails when one is missing or of another size.
    pub fn restore(
        &mut self,
        trained: &[Parameter],
        take: &mut dyn FnMut(&str) -> Option<Tensor>,
    ) -> Result<()> {
        let _guard = tch::no_grad_guard();
        for (of, state) in trained.iter().zip(&mut self.states) {
            for (kept, tensor) in state.memory.tensors() {
                match take(&format!("{kept}.{}", of.name)) {
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
                Some(steps) => state.steps = steps.int64_value(&[]) as u64,
                None => bail!("the optimizer's step count of {} is missing", of.name),
            }
        }
        Ok(())
    }
}

/// The norm of one tensor's gradient.
pub fn norm(of: &Parameter) -> Option<f64> {
    let _guard = tch::no_grad_guard();
    let gradient = of.gradient()?;
    Some(if gradient.device() == Device::Cpu {
        kernels::sum_of_squares(&gradient.contiguous()).sqrt()
    } else {
        gradient.norm_scalaropt_dtype(2.0, Kind::Float).double_value(&[])
    })
}

/// The norm over all gradients together, of their own norms. NaN or infinite when any of them is.
pub fn global_norm(norms: impl IntoIterator<Item = f64>) -> f64 {
    norms.into_iter().map(|norm| norm * norm).sum::<f64>().sqrt()
}

/// What gradients are multiplied with so that their global norm is at most `clip`; 0 does not clip. The 1e-6 is
/// PyTorch's `clip_grad_norm_`.
pub fn clip_factor(norm: f64, clip: f64) -> f64 {
    if clip > 0.0 {
        (clip / (norm + 1e-6)).min(1.0)
    } else {
        1.0
    }
}
