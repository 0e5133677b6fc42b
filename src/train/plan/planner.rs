//! Estimates of one model under many configurations.

use super::block::BlockMemory;
use super::config::PlanConfig;
use super::estimate::MemoryEstimate;
use super::size::Size;
use crate::model::files::config::ConfigFields;
use anyhow::Result;

/// A model to plan with: its sizes, and its blocks as far as they have been measured.
pub struct Planner {
    fields: ConfigFields,
    /// Sizes of the model.
    pub size: Size,
    blocks: Vec<(PlanConfig, BlockMemory)>,
}

impl Planner {
    /// Makes a planner for the model of `fields`.
    pub fn new(fields: ConfigFields) -> Result<Planner> {
        Ok(Planner {
            size: Size::of(&fields)?,
            fields,
            blocks: Vec::new(),
        })
    }

    /// Estimates the memory of `config` without activations of blocks, in no time.
    pub fn lower_bound(&self, config: &PlanConfig) -> MemoryEstimate {
        MemoryEstimate::of(&self.size, &BlockMemory::default(), config)
    }

    /// Estimates the memory of `config`. Measures a block, unless one like it has been measured.
    pub fn estimate(&mut self, config: &PlanConfig) -> Result<MemoryEstimate> {
        let block = match self.blocks.iter().find(|(of, _)| serves(of, config)) {
            Some((_, block)) => *block,
            None => {
                let block = BlockMemory::measure(&self.fields, config, self.size.block)?;
                self.blocks.push((config.clone(), block));
                block
            }
        };
        Ok(MemoryEstimate::of(&self.size, &block, config))
    }
}

/// Returns whether a block measured for `measured` serves `config`.
fn serves(measured: &PlanConfig, config: &PlanConfig) -> bool {
    let of = |config: &PlanConfig| {
        let lora = &config.lora;
        // A CPU keeps less of a block than a GPU, which records each operation.
        (
            config.method,
            config.formats.precision,
            lora.rank,
            lora.dora,
            config.gpu,
        )
    };
    of(measured) == of(config)
        && measured.lora.targets == config.lora.targets
        // If all tokens were targets, half the output was not measured.
        && (measured.target_tokens < measured.tokens) >= (config.target_tokens < config.tokens)
}
