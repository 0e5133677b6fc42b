//! The phases of a step whose parameters are divided among ranks (`train/shards`): what a rank has
//! of everything, and the units that are whole, on their way, or under way as gradients.

use super::{Phases, loss_bytes};
use crate::train::plan::bytes::Bytes;
use crate::train::plan::config::PlanConfig;
use crate::train::shards::reduce::AT_ONCE;

/// Numbers of a unit: all of it, and a rank's part.
#[derive(Debug, Clone, Copy, Default)]
struct Numbers {
    whole: u64,
    part: u64,
}

/// The units that matter, and their bytes.
struct Units<'a> {
    config: &'a PlanConfig,
    embedding: Numbers,
    /// The largest.
    block: Numbers,
    head: Numbers,
    /// Numbers of a rank's parts, of all.
    parts: Vec<u64>,
    tied: bool,
    /// Bytes of a number that the model computes with.
    width: u64,
    /// Numbers that are exchanged at once.
    at_once: u64,
    /// Whether gradients wait for the end of the step.
    kept: bool,
    /// Whether several micro-batches are summed in fp32 beside gradients in bf16.
    sums: bool,
    /// Whether several are summed in fp32 as they come.
    adds: bool,
}

impl Units<'_> {
    /// Returns the bytes of a unit while it is whole.
    fn whole(&self, unit: Numbers) -> u64 {
        self.config.allocated(self.width * unit.whole)
    }

    /// Returns the bytes of a unit's gradients on this rank before they are added up.
    fn gradients(&self, unit: Numbers) -> u64 {
        (self.width + if self.sums { 4 } else { 0 }) * unit.whole
    }

    /// Returns the bytes of a unit's gradients while they are exchanged: all of it, in pieces of
    /// which two are under way, and the sums of this rank's part.
    fn exchanged(&self, unit: Numbers) -> u64 {
        let pieces = match unit.whole <= self.at_once {
            true => 8 * unit.whole,
            false => 16 * self.at_once,
        };
        pieces + self.sum(unit.part)
    }

    /// Returns those of its last piece, which is under way while the next unit computes.
    fn under_way(&self, unit: Numbers) -> u64 {
        8 * unit.whole.min(self.at_once) + self.sum(unit.part)
    }

    /// Returns the bytes of sums of this many numbers.
    fn sum(&self, numbers: u64) -> u64 {
        self.config.allocated(4 * numbers)
    }

    /// Returns the bytes of the sums that wait for the end of the step while the backward pass is
    /// in block `layer`, with those of the blocks behind it; with updates in backward, of a tied
    /// head only.
    fn waiting(&self, layer: usize) -> u64 {
        let head = self.sum(self.head.part);
        let blocks = self.parts.iter().skip(layer + 2).map(|&part| self.sum(part));
        match (self.kept, self.tied) {
            (true, true) => head + blocks.sum::<u64>(),
            // The head is behind the last block.
            (true, false) => blocks.sum(),
            (false, true) => head,
            (false, false) => 0,
        }
    }
}

impl Phases<'_> {
    fn units(&self) -> Units<'_> {
        let config = self.tensors.config;
        let numbers: Vec<Numbers> = self
            .tensors
            .layouts()
            .map(|layout| Numbers {
                whole: layout.whole() as u64,
                part: layout.part as u64,
            })
            .collect();
        let layers = self.layers() as usize;
        let embedding = numbers.first().copied().unwrap_or_default();
        let blocks = numbers.iter().skip(1).take(layers).copied();
        Units {
            config,
            embedding,
            block: blocks.max_by_key(|of| of.whole).unwrap_or_default(),
            head: numbers.get(1 + layers).copied().unwrap_or(embedding),
            parts: numbers.iter().map(|of| of.part).collect(),
            tied: self.tensors.size.tied,
            width: config.width(),
            at_once: AT_ONCE[usize::from(config.gpu)] as u64,
            kept: !config.formats.update_in_backward,
            sums: config.cut && self.tensors.is_mixed(),
            adds: config.cut && !self.tensors.is_mixed(),
        }
    }

    /// Returns the bytes of each phase of a step of an adapter whose base is divided: those of one
    /// process that recomputes, with the units that are whole or on their way.
    pub(super) fn divided_below_adapter(&self) -> [Bytes; 5] {
        let units = self.tensors.whole_units();
        let config = self.tensors.config;
        let layers = self.layers() as usize;
        let whole = |at: usize| config.allocated(units.get(at).copied().unwrap_or(0));
        let block = (1..=layers).map(whole).max().unwrap_or(0);
        let head = if self.tensors.size.tied {
            whole(0)
        } else {
            whole(layers + 1)
        };
        // Gloo gathers into a copy, which lasts until later gathers take its place.
        let copied = if config.gpu { 0 } else { head };
        let with = |bytes: Bytes, whole: u64| Bytes {
            weights: bytes.weights + whole,
            ..bytes
        };
        [
            with(self.loss(), head + copied + block),
            with(self.last_block(), 2 * block),
            with(self.block_before_last(), 2 * block),
            with(self.first_block(), block),
            self.update(),
        ]
    }

    /// Returns the bytes of each phase.
    pub(super) fn divided(&self) -> [Bytes; 7] {
        let units = self.units();
        let (activations, layers) = (&self.activations, self.layers());
        let (embedding, block, head) = (units.embedding, units.block, units.head);
        let with = |whole: u64, gradients: u64, activations: u64| Bytes {
            weights: self.resident.weights + whole,
            gradients,
            activations,
            ..self.resident
        };
        let (logits, doubled) = loss_bytes(self.tensors.size, self.tensors.config);
        let of_head = self.gradients.head + if units.sums { 4 * head.whole } else { 0 };
        let added = if units.adds { self.gradients.head } else { 0 };
        let kept = activations.all_kept + activations.beside(layers);
        let below = activations.below_kept + activations.beside(layers.saturating_sub(1));
        let new = units.gradients(block) + if units.adds { units.whole(block) / 2 } else { 0 };
        let loss = Bytes {
            logits,
            ..with(
                units.whole(head) + units.whole(block),
                of_head + doubled.max(added),
                kept + activations.wanted + 2 * activations.at_targets,
            )
        };
        let head_exchanged = with(
            units.whole(block),
            of_head + units.exchanged(head),
            kept + activations.wanted,
        );
        let before = units.gradients(block);
        let last = (layers as usize).saturating_sub(1);
        let last_block = with(
            2 * units.whole(block),
            units.under_way(head) + new,
            kept + activations.again[1]
                + activations.within(activations.last.backward, before)
                + 2 * activations.wanted,
        );
        let block_before_last = with(
            2 * units.whole(block),
            units.waiting(last) + units.under_way(block) + new,
            below
                + activations.again[0]
                + activations.within(activations.any.backward, before)
                + 2 * activations.hidden,
        );
        let first_block = with(
            units.whole(block) + units.whole(embedding),
            units.waiting(0) + units.under_way(block) + new,
            activations.any.kept
                + activations.beside(1)
                + activations.within(activations.any.backward, before)
                + activations.hidden,
        );
        let of_embedding = with(
            units.whole(embedding),
            units.waiting(0) + units.under_way(block) + units.gradients(embedding) + added,
            3 * activations.hidden + activations.beside(0),
        );
        let end = with(
            0,
            units.waiting(0)
                + units.sum(block.part)
                + units.gradients(embedding)
                + units.exchanged(embedding),
            activations.hidden + activations.beside(0),
        );
        [
            loss,
            head_exchanged,
            last_block,
            block_before_last,
            first_block,
            of_embedding,
            end,
        ]
    }
}
