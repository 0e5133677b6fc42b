//! What decides the memory of a fine-tune.

use super::branches::Branches;
use super::heaviest::Demand;
use crate::model::device::has_bf16;
use crate::shim::gpu::Kernels;
use crate::train::settings::Settings;
use ewe::finetune::{Formats, LoraSettings, Method, OptimizerKind, Precision};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use tch::Device;

/// A fine-tune whose memory is estimated, at the micro-batch that needs most.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanConfig {
    /// Which weights are trained.
    pub method: Method,
    /// Settings of the adapter; with full fine-tuning, of the one that may be advised instead.
    pub lora: LoraSettings,
    /// Number formats and memory strategies.
    pub formats: Formats,
    /// Tokens of the micro-batch.
    pub tokens: u64,
    /// Targets among them.
    pub target_tokens: u64,
    /// Tokens of the step's other micro-batches that wait between blocks, with updates in backward.
    pub tokens_beside: u64,
    /// Whether a step has several micro-batches, so that gradients are summed in fp32.
    pub cut: bool,
    /// Among how many ranks parameters, gradients and optimizer state are divided; 1 for none.
    pub parts: u64,
    /// Whether it runs on a GPU.
    pub gpu: bool,
    /// Tokens of all micro-batches of a step.
    pub step_tokens: u64,
    /// Branches of the micro-batch's prefix tree.
    pub branches: Branches,
    /// Whether updates on the GPU run in kernels of ours. Without, libtorch's operations need
    /// temporaries.
    pub fused: bool,
}

impl PlanConfig {
    /// Returns the configuration of a run on `device` while the micro-batch of `demand` passes
    /// through the model.
    /// Its parameters are divided among `parts` ranks.
    pub fn of(
        settings: &Settings,
        demand: &Demand,
        cut: bool,
        (device, parts): (Device, usize),
    ) -> PlanConfig {
        let (tokens, beside) = (demand.micro_batch.id_t.len(), demand.tokens_beside());
        let mut formats = settings.formats;
        // Blocks that come and go are computed once more.
        formats.recompute |= parts > 1;
        PlanConfig {
            method: settings.method,
            lora: settings.lora.clone().unwrap_or_default(),
            formats,
            parts: parts as u64,
            tokens: tokens as u64,
            target_tokens: demand.micro_batch.target_n.len() as u64,
            tokens_beside: beside as u64,
            cut,
            gpu: device.is_cuda(),
            step_tokens: (tokens + beside) as u64,
            branches: Branches::of(&demand.micro_batch.nodes),
            fused: PlanConfig::fuses_on(device),
        }
    }

    /// Returns whether updates on `device` run in kernels of ours for GPUs.
    pub fn fuses_on(device: Device) -> bool {
        device.is_cuda() && Kernels::on(device).is_ok()
    }

    /// Sets the tokens of the micro-batches that wait between blocks: with updates in backward, or
    /// where ranks divide the parameters, all others of the step.
    pub fn place_step(&mut self) {
        self.tokens_beside = match self.formats.update_in_backward || self.parts > 1 {
            true => self.step_tokens.saturating_sub(self.tokens),
            false => 0,
        };
    }

    /// Returns this configuration with micro-batches of `tokens` tokens, fewer than now.
    pub fn with_tokens(&self, tokens: u64) -> PlanConfig {
        let mut config = PlanConfig {
            tokens,
            target_tokens: self.target_tokens.min(tokens),
            branches: self.branches.part(tokens, self.tokens),
            cut: self.cut || tokens < self.step_tokens,
            ..self.clone()
        };
        config.place_step();
        config
    }

    /// Returns whether ranks that divide the parameters can train so: Adafactor's state lies by
    /// rows and columns, what is divided is not offloaded, and DoRA needs whole weights.
    pub fn can_be_divided(&self) -> bool {
        if !self.is_full() {
            return self.parts == 1 || !self.lora.dora;
        }
        self.parts == 1 || !(self.formats.offload || self.formats.optimizer == OptimizerKind::Adafactor)
    }

    /// Returns whether every weight is trained.
    pub fn is_full(&self) -> bool {
        self.method == Method::Full
    }

    /// Returns whether the model computes in bf16.
    pub fn is_bf16(&self) -> bool {
        self.formats.precision == Precision::Bf16
    }

    /// Returns the bytes that the allocator uses for a tensor of `bytes` bytes. The CPU's has four
    /// sizes between a power of two and the next.
    pub fn allocated(&self, bytes: u64) -> u64 {
        if self.gpu || bytes < 4096 {
            return bytes;
        }
        let step = 1 << (63 - (bytes - 1).leading_zeros() - 2);
        bytes.next_multiple_of(step)
    }

    /// Returns whether this processor computes products of bf16 in fp32.
    pub fn widens(&self) -> bool {
        !self.gpu && self.is_bf16() && !has_bf16(Device::Cpu)
    }

    /// Returns the bytes of a number that the model computes with.
    pub fn width(&self) -> u64 {
        match self.formats.precision {
            Precision::Bf16 => 2,
            Precision::Fp32 => 4,
        }
    }
}

/// The fields of `ewe plan --json`, in the order that it has always had.
impl Serialize for PlanConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Formats {
            recompute,
            update_in_backward,
            offload,
            quantize,
            precision,
            master,
            optimizer,
        } = &self.formats;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("method", &self.method)?;
        map.serialize_entry("rank", &self.lora.rank)?;
        map.serialize_entry("targets", &self.lora.targets)?;
        map.serialize_entry("dora", &self.lora.dora)?;
        map.serialize_entry("quantize", quantize)?;
        map.serialize_entry("precision", precision)?;
        map.serialize_entry("master", master)?;
        map.serialize_entry("optimizer", optimizer)?;
        map.serialize_entry("recompute", recompute)?;
        map.serialize_entry("update_in_backward", update_in_backward)?;
        map.serialize_entry("offload", offload)?;
        map.serialize_entry("tokens", &self.tokens)?;
        map.serialize_entry("target_tokens", &self.target_tokens)?;
        map.serialize_entry("tokens_beside", &self.tokens_beside)?;
        map.serialize_entry("cut", &self.cut)?;
        map.serialize_entry("gpu", &self.gpu)?;
        map.end()
    }
}
