//! How a run reads its model: whole, or the part of a rank.

use super::fit::free;
use super::settings::{self, Settings};
use super::shards;
use super::trainer::Trainer;
use crate::distributed::group::Division;
use crate::model::device::dtype_name;
use crate::model::files::adapter;
use crate::model::files::weights::{Form, Weights};
use crate::model::{self, CausalLm};
use crate::shim::memory;
use crate::train::optim::lora;
use anyhow::{Result, bail};
use ewe::finetune::Precision;
use ewe::job::train::TrainJob;
use std::path::Path;
use tch::{Device, Kind};

/// The model's weights.
pub(super) struct Loaded {
    pub(super) model: Box<dyn CausalLm>,
    pub(super) kind: Kind,
    /// Bytes that the allocator counts for them.
    pub(super) bytes: u64,
}

impl Loaded {
    pub(super) fn read(base: &Path, device: Device, precision: Precision, form: Form) -> Result<Loaded> {
        let dtype = dtype_name(settings::kind(precision));
        let before = allocated(device);
        let (model, kind) = model::load_weights(base, device, dtype, form)?;
        let bytes = allocated(device).saturating_sub(before);
        Ok(Loaded { model, kind, bytes })
    }
}

/// Returns the allocated bytes; 0 if nothing counts them.
pub(super) fn allocated(device: Device) -> u64 {
    memory::allocated(device).unwrap_or_default()
}

/// Returns whether the weights may be read beside the tokenizer, before it is known what the run
/// needs: if sixteen times as much is free, twice what full fine-tuning in fp32 takes of a
/// checkpoint in 16 bits.
pub(super) fn weights_are_small(base: &Path, family: &str, device: Device) -> Result<bool> {
    let Some(free) = free(device) else {
        return Ok(false);
    };
    Ok(16 * Weights::open(base, model::prefix(family))?.bytes() < free)
}

/// Makes the trainer of the loaded model, with its adapter.
pub(super) fn trainer(
    job: &TrainJob,
    settings: &Settings,
    base: &Path,
    loaded: Loaded,
    device: Device,
) -> Result<Trainer> {
    let Loaded { mut model, kind, .. } = loaded;
    if let Some(dir) = &job.adapter {
        adapter::attach(model.as_mut(), base, dir, device)?;
    }
    if let Some(lora) = &settings.lora {
        lora::check_targets(model.as_mut(), lora)?;
    }
    let mut trainer = match settings.lora.clone() {
        Some(lora) => Trainer::lora(model, lora, job.seed, settings.optimizer(), device),
        None => {
            let mut exact = exact_weights(base, model.info().family, kind, device)?;
            let shapes: std::collections::HashMap<_, _> = model
                .parameters()
                .into_iter()
                .map(|(name, tensor)| (name, tensor.size()))
                .collect();
            let values = |name: &str| exact.as_mut().map(|weights| weights.tensor(name, &shapes[name]));
            Trainer::full(model, values, settings.optimizer(), device)
        }
    };
    trainer.recompute = settings.formats.recompute;
    trainer.neftune = settings.neftune;
    Ok(trainer)
}

/// Makes the trainer of a model of which this rank reads its part. Returns it with the type that it
/// computes in, and the bytes that were allocated before.
pub(super) fn divided_trainer(
    job: &TrainJob,
    settings: &Settings,
    dir: &Path,
    (device, precision): (Device, Precision),
    division: Division,
) -> Result<(Trainer, Kind, u64)> {
    let before = allocated(device);
    let dtype = dtype_name(settings::kind(precision));
    let (mut model, kind, weights) = model::load_hollow(dir, device, dtype, settings.form())?;
    let exact = match settings.lora {
        Some(_) => None,
        None => exact_weights(dir, model.info().family, kind, Device::Cpu)?,
    };
    let ends = model.embedding_and_head();
    let head_name = ends.tied.then_some(ends.head_name);
    let source = shards::load::Source {
        weights,
        exact,
        dir,
        head_name,
    };
    let mut trainer = match &settings.lora {
        Some(lora) => {
            if let Some(adapter) = &job.adapter {
                adapter::attach(model.as_mut(), dir, adapter, device)?;
            }
            if lora.dora {
                bail!(
                    "DoRA needs the norms of whole weights, which no rank has with --shard\nhint: leave --shard away, or go on with a LoRA adapter"
                );
            }
            lora::check_targets(model.as_mut(), lora)?;
            let adapter = (lora.clone(), job.seed);
            Trainer::divided_adapter(model, source, division, adapter, settings.optimizer(), device)?
        }
        None => Trainer::divided(model, source, division, settings.optimizer(), device)?,
    };
    trainer.neftune = settings.neftune;
    Ok((trainer, kind, before))
}

/// Opens the checkpoint's own weights in fp32, if they are more precise than the model computes.
fn exact_weights(dir: &Path, family: &str, kind: Kind, device: Device) -> Result<Option<Weights>> {
    if kind == Kind::Float {
        return Ok(None);
    }
    let mut weights = Weights::open(dir, model::prefix(family))?;
    weights.place(Kind::Float, device);
    Ok((weights.main_kind() != kind).then_some(weights))
}
