//! A base model with the adapter of a training run, set to one checkpoint after the other.

use super::direction::{Direction, Moments};
use super::tuned_run::{KeptCheckpoint, TunedRun};
use crate::model::device::dtype_name;
use crate::model::{self, CausalLm};
use crate::shim::optimizers::MomentTensors;
use crate::train::optim::fallback;
use crate::train::optim::lora;
use crate::train::optim::parameter::Parameter;
use crate::train::out::checkpoint::Checkpoints;
use crate::train::settings;
use anyhow::{Context, Result, bail};
use ewe::finetune::{LoraSettings, OptimizerKind};
use std::collections::HashMap;
use tch::{Device, Kind, Tensor};

/// A model whose adapter's parameters have gradients, example by example.
pub struct AdaptedModel {
    /// The model. Nothing of it requires gradients.
    pub model: Box<dyn CausalLm>,
    /// The adapter's parameters, in the order of a checkpoint.
    pub parameters: Vec<Parameter>,
    /// Factor of the adapter's output.
    pub scale: f64,
    /// Whether blocks are computed again in the backward pass.
    pub recompute: bool,
    /// Device of the model.
    pub device: Device,
    slots: HashMap<usize, Slot>,
}

/// The parameters of one adapted layer, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// A, `[r, i]`.
    pub a: usize,
    /// B, `[o, r]`.
    pub b: usize,
    /// DoRA's magnitudes, `[o]`.
    pub magnitude: Option<usize>,
}

/// The adapter as it was at a checkpoint, on the model's device.
#[derive(Debug)]
pub struct AdapterState {
    /// Share of the run that the checkpoint stands for; those of all add up to 1.
    pub share: f64,
    /// Values of the parameters.
    values: Vec<Tensor>,
    /// What the optimizer kept of each; empty where the direction needs none.
    pub moments: Vec<Moments>,
}

impl AdaptedModel {
    /// Loads the base model of `run`, and attaches an adapter of its shapes.
    pub fn open(run: &TunedRun, device: Device) -> Result<AdaptedModel> {
        let dtype = dtype_name(settings::kind(run.settings.formats.precision));
        let (model, _) = model::load_weights(&run.base, device, dtype, run.settings.form())?;
        let lora = run.lora.clone();
        Ok(AdaptedModel::of(
            model,
            lora,
            run.settings.formats.recompute,
            device,
        ))
    }

    /// Attaches an adapter with these settings to `model`. Its dropout is off.
    pub fn of(
        mut model: Box<dyn CausalLm>,
        settings: LoraSettings,
        recompute: bool,
        device: Device,
    ) -> AdaptedModel {
        let settings = LoraSettings {
            dropout: 0.0,
            ..settings
        };
        let parameters = lora::attach(model.as_mut(), &settings, 0, device);
        let mut slots = HashMap::new();
        for (number, of) in parameters.iter().enumerate() {
            // Gradients are computed from activations, and autograd need not keep what it would
            // need for those of the parameters.
            let _ = of.leaf.set_requires_grad(false);
            if of.name.ends_with(".lora_A.weight") {
                let is_magnitude = |of: &Parameter| of.name.ends_with(".lora_magnitude_vector");
                let slot = Slot {
                    a: number,
                    b: number + 1,
                    magnitude: parameters
                        .get(number + 2)
                        .is_some_and(is_magnitude)
                        .then_some(number + 2),
                };
                slots.insert(of.leaf.data_ptr() as usize, slot);
            }
        }
        AdaptedModel {
            model,
            parameters,
            scale: settings.scale(),
            recompute,
            device,
            slots,
        }
    }

    /// Returns the parameters of the layer whose A is at this address.
    pub fn slot(&self, address: usize) -> &Slot {
        &self.slots[&address]
    }

    /// Returns the number of each parameter's values.
    pub fn sizes(&self) -> Vec<i64> {
        self.parameters.iter().map(|of| of.leaf.numel() as i64).collect()
    }

    /// Sets the adapter to a checkpoint.
    pub fn set(&self, state: &AdapterState) {
        let _guard = tch::no_grad_guard();
        for (of, values) in self.parameters.iter().zip(&state.values) {
            of.leaf.shallow_clone().copy_(values);
        }
    }

    /// Reads the adapter, and what `direction` needs of the optimizer, at a checkpoint.
    ///
    /// # Errors
    ///
    /// If a tensor is missing or of another size.
    pub fn read(
        &self,
        checkpoint: &KeptCheckpoint,
        optimizer: OptimizerKind,
        direction: Direction,
    ) -> Result<AdapterState> {
        let mut state = AdapterState {
            share: checkpoint.share,
            values: Vec::new(),
            moments: Vec::new(),
        };
        Checkpoints::restore(&checkpoint.place, |take| {
            for of in &self.parameters {
                let name = format!("weight.{}", of.name);
                let values = take(&name).filter(|values| values.size() == of.leaf.size());
                let values = values.with_context(|| format!("{name} is missing or of another size"))?;
                state.values.push(values.to_device(self.device));
                if direction != Direction::Sgd {
                    let moments = self.moments(of, optimizer, take)?;
                    state.moments.push(moments.for_direction(direction));
                }
            }
            Ok(())
        })?;
        Ok(state)
    }

    fn moments(
        &self,
        of: &Parameter,
        optimizer: OptimizerKind,
        take: &mut dyn FnMut(&str) -> Option<Tensor>,
    ) -> Result<Moments> {
        let count = of.leaf.numel() as i64;
        let mut tensor = |kept: &str| {
            let tensor = take(&format!("{kept}.{}", of.name));
            tensor.with_context(|| format!("the optimizer's {kept} of {} is missing", of.name))
        };
        let steps = tensor("steps")?.int64_value(&[]) as u64;
        let (first, second) = (tensor("first")?, tensor("second")?);
        let (first_p, second_p) = match optimizer {
            OptimizerKind::Adamw => (first, second),
            OptimizerKind::Adamw8bit => {
                let (first_scale, second_scale) = (tensor("first_scale")?, tensor("second_scale")?);
                let eight = MomentTensors::Eight {
                    first: &first,
                    first_scale: &first_scale,
                    second: &second,
                    second_scale: &second_scale,
                };
                fallback::recall(&eight, 0, count)
            }
            OptimizerKind::Adafactor | OptimizerKind::Lion => {
                bail!("its optimizer keeps no second moment of each weight")
            }
        };
        if [&first_p, &second_p]
            .iter()
            .any(|x| x.size() != [count] || x.kind() != Kind::Float)
        {
            bail!(
                "the size is another one for the optimizer's moments of {}",
                of.name
            );
        }
        Ok(Moments {
            first_p: Some(first_p.to_device(self.device)),
            second_p: second_p.to_device(self.device),
            steps,
        })
    }
}
