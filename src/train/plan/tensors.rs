//! Bytes of a model's weights, of the trained tensors, and of the optimizer state.

use super::bytes::{Bytes, WORKSPACE};
use super::config::PlanConfig;
use super::size::Size;
use crate::train::optim::registry;
use crate::train::optim::state::TrainedSizes;
use crate::train::shards::layout::{Layout, Member};
use ewe::finetune::{Master, Quantize};

/// A model under one configuration.
#[derive(Clone, Copy)]
pub struct Tensors<'a> {
    /// Sizes of the model.
    pub size: &'a Size,
    /// How it is trained.
    pub config: &'a PlanConfig,
}

impl Tensors<'_> {
    /// Returns the bytes that exist during a whole step on the device, and those in host memory
    /// beside a GPU.
    pub fn resident(&self) -> (Bytes, u64) {
        let copy = self.all(self.config.width());
        let bytes = Bytes {
            weights: self.weights(),
            masters: self.masters(),
            states: self.states(),
            workspace: WORKSPACE[usize::from(!self.config.gpu)],
            ..Bytes::default()
        };
        // Offloading updates a copy of the weights in host memory.
        match (
            self.config.formats.offload && self.config.is_full(),
            self.config.gpu,
        ) {
            (false, _) => (bytes, 0),
            (true, true) => {
                let host = copy + bytes.masters + bytes.states;
                (
                    Bytes {
                        masters: 0,
                        states: 0,
                        ..bytes
                    },
                    host,
                )
            }
            // On a CPU the device's memory is the host's.
            (true, false) => (
                Bytes {
                    masters: bytes.masters + copy,
                    ..bytes
                },
                0,
            ),
        }
    }

    /// Returns the count of trained numbers.
    pub fn trained(&self) -> u64 {
        let lora = &self.config.lora;
        match self.config.is_full() {
            true => self.size.parameters,
            false => self.size.adapter(lora.rank.into(), &lora.targets, lora.dora),
        }
    }

    /// Returns the bytes of all weights at `width` bytes per number; if ranks divide them, of the
    /// pieces of the rank that has most.
    pub fn all(&self, width: u64) -> u64 {
        if self.config.parts > 1 {
            let of = |part: u64| {
                let pieces = self.layouts().flat_map(move |layout| {
                    let own = |member: &Member| layout.own(member, part as usize).count as u64;
                    layout.members.iter().map(own).collect::<Vec<_>>()
                });
                pieces.map(|count| self.config.allocated(width * count)).sum()
            };
            return (0..self.config.parts).map(of).max().unwrap_or(0);
        }
        let counts = self.size.counts();
        counts.map(|count| self.config.allocated(width * count)).sum()
    }

    /// Returns how ranks divide each unit.
    pub fn layouts(&self) -> impl Iterator<Item = Layout> + '_ {
        self.size.units.iter().map(|unit| {
            let sizes = unit.iter().map(|count| *count as i64).enumerate();
            Layout::of(sizes, self.config.parts as usize)
        })
    }

    /// Returns the bytes of this rank's parts of all units, at `width` bytes per number.
    pub fn of_parts(&self, width: u64) -> u64 {
        self.layouts()
            .map(|layout| self.config.allocated(width * layout.part as u64))
            .sum()
    }

    /// Returns the bytes of all trained tensors at `width` bytes per number.
    pub fn of_trained(&self, width: u64) -> u64 {
        match self.config.is_full() {
            true => self.all(width),
            false => width * self.trained(),
        }
    }

    /// Returns whether master weights lie beside bf16 weights.
    pub fn is_mixed(&self) -> bool {
        self.config.is_full() && self.config.is_bf16()
    }

    /// Returns the bytes of a gradient of the head, 0 if the head is frozen.
    pub fn head_gradient(&self) -> u64 {
        match self.config.is_full() {
            true => self
                .config
                .allocated(self.config.width() * self.size.vocab * self.size.hidden),
            false => 0,
        }
    }

    /// Returns the bytes of one linear layer while it is dequantized, and of the row norms of its
    /// weights in fp32 that DoRA computes.
    pub fn dequantized(&self) -> u64 {
        let quantized = self.config.formats.quantize.is_some() && !self.config.is_full();
        let norms = self.config.lora.dora && self.config.is_bf16();
        let per_number = if quantized { self.config.width() } else { 0 } + if norms { 4 } else { 0 };
        per_number * self.largest_linear()
    }

    /// Returns the bytes of each unit that ranks gather while it is whole, in the form in which an
    /// adapter's base is kept.
    pub fn whole_units(&self) -> Vec<u64> {
        let width = self.config.width();
        let in_four = |count: u64| count / 2 + 4 * count.div_ceil(64);
        let saved = |count: u64| (width * count).saturating_sub(in_four(count));
        let saved: u64 = match self.config.formats.quantize {
            Some(Quantize::Nf4) => self.linears().map(saved).sum::<u64>() / self.size.layers.max(1),
            None => 0,
        };
        let (layers, parts) = (self.size.layers as usize, self.config.parts);
        let of = |(at, layout): (usize, Layout)| {
            let plain = width * layout.whole() as u64;
            let bytes = plain - if (1..=layers).contains(&at) { saved } else { 0 };
            bytes.next_multiple_of(256 * parts)
        };
        self.layouts().enumerate().map(of).collect()
    }

    /// Returns the bytes of this rank's parts of a frozen model.
    fn frozen_parts(&self) -> u64 {
        let parts = self.whole_units().into_iter();
        parts
            .map(|whole| self.config.allocated(whole / self.config.parts))
            .sum()
    }

    fn weights(&self) -> u64 {
        match self.config.formats.quantize {
            _ if self.config.parts > 1 && !self.config.is_full() => self.frozen_parts(),
            Some(Quantize::Nf4) if !self.config.is_full() => self.quantized(),
            _ if self.config.parts > 1 => self.of_parts(self.config.width()),
            _ => self.all(self.config.width()),
        }
    }

    fn masters(&self) -> u64 {
        match self.config.formats.master {
            // The adapter.
            _ if !self.config.is_full() => 4 * self.trained(),
            Master::Fp32 if self.is_mixed() => self.all(4),
            Master::Split if self.is_mixed() => self.all(2),
            _ => 0,
        }
    }

    fn states(&self) -> u64 {
        let sizes = TrainedSizes {
            numbers: match self.config.is_full() {
                true => self.trained() / self.config.parts,
                false => self.trained(),
            },
            rows_and_columns: self.rows_and_columns(),
            bytes: &|width| self.of_trained(width),
        };
        (registry::spec(self.config.formats.optimizer).state_bytes)(&sizes)
    }

    /// Returns the bytes of the model when the linear layers of its blocks are in 4 bits, with a
    /// scale of 4 bytes for each 64 numbers.
    fn quantized(&self) -> u64 {
        let (config, width) = (self.config, self.config.width());
        let in_four = |count: u64| config.allocated(count / 2) + config.allocated(4 * count.div_ceil(64));
        let replaced: u64 = self.linears().map(|count| config.allocated(width * count)).sum();
        self.all(width) - replaced + self.linears().map(in_four).sum::<u64>()
    }

    /// Returns the count of numbers of the largest linear layer of a block.
    fn largest_linear(&self) -> u64 {
        self.linears().max().unwrap_or(0)
    }

    /// Returns the count of numbers of each linear layer of the blocks, those of experts included.
    fn linears(&self) -> impl Iterator<Item = u64> {
        let linears = self.size.linears.iter();
        let adaptable = linears.map(|(_, inputs, outputs)| inputs * outputs);
        adaptable.chain(self.size.experts.iter().copied())
    }

    fn rows_and_columns(&self) -> u64 {
        let lora = &self.config.lora;
        if !self.config.is_full() {
            let adapter = self.size.adapter(1, &lora.targets, lora.dora);
            return adapter + 2 * u64::from(lora.rank) * self.size.linears.len() as u64;
        }
        let of = |shape: &Vec<i64>| match shape.as_slice() {
            [rows, columns] => rows + columns,
            other => 1 + other.iter().product::<i64>(),
        };
        self.size.shapes.iter().map(of).sum::<i64>() as u64
    }
}
