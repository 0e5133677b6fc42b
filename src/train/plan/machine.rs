//! What this machine holds of a fine-tune: its GPUs and its processor, with the formats that `ewe
//! train` would choose on each.

use super::config::PlanConfig;
use super::estimate::MemoryEstimate;
use super::planner::Planner;
use super::rungs::{Place, rungs};
use crate::model::device::{self, has_bf16};
use crate::train::fit;
use anyhow::Result;
use ewe::finetune::Precision;
use ewe::job::plan::PlanJob;
use serde_json::{Value, json};
use tch::Device;

/// A method on a device of this machine.
pub struct Here {
    /// The device, with a GPU's name.
    pub device: String,
    /// Bytes that are free now.
    pub free: u64,
    /// What the formats asked for need.
    pub asked: MemoryEstimate,
    /// What is chosen if that does not fit: options and need, as far as anything fits.
    pub instead: Option<(String, MemoryEstimate)>,
}

impl Here {
    /// Plans each of `methods` on the devices of this machine; on none whose free memory is
    /// unknown.
    ///
    /// # Errors
    ///
    /// When a block cannot be measured.
    pub fn all(job: &PlanJob, planner: &mut Planner, methods: &[PlanConfig]) -> Result<Vec<Here>> {
        let mut all = Vec::new();
        let host = fit::free(Device::Cpu).unwrap_or(u64::MAX);
        for (device, name) in device::of_this_machine() {
            let Some(free) = fit::free(device) else { continue };
            for config in methods {
                let mut here = Here {
                    device: name.clone(),
                    free,
                    asked: planner.estimate(&on(config, device, job))?,
                    instead: None,
                };
                if !here.fits() && !job.formats_are_given {
                    let place = place(job, device.is_cuda());
                    here.instead = chosen(planner, &here.asked.config, place, (free, host))?;
                }
                all.push(here);
            }
        }
        Ok(all)
    }

    /// Returns whether the formats asked for fit.
    pub fn fits(&self) -> bool {
        self.asked.total <= self.free
    }

    /// Returns the device as JSON.
    pub fn json(&self) -> Value {
        let instead = self.instead.as_ref();
        json!({
            "device": self.device,
            "free": self.free,
            "method": self.asked.config.method,
            "total": self.asked.total,
            "fits": self.fits(),
            "chosen": instead.map(|(options, of)| json!({"options": options, "total": of.total})),
        })
    }
}

/// Returns `config` on `device`, in the precision that `ewe train` takes there.
fn on(config: &PlanConfig, device: Device, job: &PlanJob) -> PlanConfig {
    let mut config = config.clone();
    config.gpu = device.is_cuda();
    config.fused = config.gpu;
    if job.precision.is_none() && !has_bf16(device) {
        config.formats.precision = Precision::Fp32;
    }
    config
}

/// Returns the place of each process of a run.
pub fn place(job: &PlanJob, gpu: bool) -> Place {
    Place {
        gpu,
        ranks: job.gpus > 1,
    }
}

/// Returns the formats that `ewe train` chooses for `config` where that does not fit into the
/// `memory` of the device: options and need. `host` is that of the machine.
///
/// # Errors
///
/// When a block cannot be measured.
pub fn chosen(
    planner: &mut Planner,
    config: &PlanConfig,
    place: Place,
    (memory, host): (u64, u64),
) -> Result<Option<(String, MemoryEstimate)>> {
    for rung in rungs(config.formats, config.method, place) {
        let mut tried = PlanConfig {
            formats: rung.formats,
            ..config.clone()
        };
        tried.place_step();
        let need = planner.estimate(&tried)?;
        if need.total <= memory && need.host <= host {
            return Ok(Some((rung.options, need)));
        }
    }
    Ok(None)
}
