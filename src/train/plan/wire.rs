//! What the ranks of a run exchange in a step, and how long that takes: a model of collectives in
//! rings, and of connections at a share of what their data sheets say. Nothing of it was measured
//! on a network.

use super::estimate::MemoryEstimate;
use super::size::Size;
use super::tensors::Tensors;
use crate::train::shards::reduce::AT_ONCE;
use ewe::job::plan::{Link, PlanJob};
use serde::Serialize;

/// Share of a connection's rate that long messages reach.
const MOST_OF_LINK: f64 = 0.8;

/// Bytes that a rank sends in a step; it receives as many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Wire {
    /// Parameters of blocks that are gathered, while blocks compute.
    pub blocks: u64,
    /// Parameters of embedding and head that are gathered.
    pub ends: u64,
    /// Gradients.
    pub gradients: u64,
    /// Those of them that are added up while another block computes.
    #[serde(skip)]
    beside: u64,
    /// The GPUs of a machine that share a connection.
    #[serde(skip)]
    sharing: u64,
}

impl Wire {
    /// Returns what the ranks of `job` exchange in a step of this estimate.
    pub fn of(job: &PlanJob, size: &Size, estimate: &MemoryEstimate) -> Wire {
        let config = &estimate.config;
        let ranks = job.ranks();
        let sharing = if job.wire().is_shared() { job.gpus } else { 1 };
        // All but its own part of as many.
        let share = |bytes: u64, count: u64| bytes * count.saturating_sub(1) / count.max(1);
        if config.parts == 1 {
            return Wire {
                gradients: share(2 * 4 * estimate.trained, ranks),
                sharing,
                ..Wire::default()
            };
        }
        let tensors = Tensors { size, config };
        if !config.is_full() {
            let whole = tensors.whole_units();
            let blocks: u64 = whole.iter().skip(1).take(size.layers as usize).sum();
            let ends = whole.iter().sum::<u64>() - blocks;
            // The embedding before the blocks, and the head behind them.
            let gathered = if size.tied { 2 * ends } else { ends };
            return Wire {
                blocks: share(2 * blocks, config.parts),
                ends: share(gathered, config.parts),
                gradients: share(2 * 4 * estimate.trained, ranks),
                beside: 0,
                sharing,
            };
        }
        let numbers: Vec<u64> = tensors.layouts().map(|layout| layout.whole() as u64).collect();
        let blocks: u64 = numbers.iter().skip(1).take(size.layers as usize).sum();
        let ends = numbers.iter().sum::<u64>() - blocks;
        let embedding = numbers.first().copied().unwrap_or(0);
        // The embedding and the head before they compute, and the embedding at the end once more.
        let (gathered, reduced) = match size.tied {
            true => (3 * ends, blocks + 2 * ends),
            false => (ends + embedding, blocks + ends),
        };
        let added_up = |numbers: u64| {
            let within = share(4 * numbers, config.parts);
            within + share(2 * 4 * numbers / config.parts, ranks / config.parts)
        };
        // A block that is exchanged in one piece, but for the first, which is the last to compute.
        let layers = size.layers.max(1);
        let in_one = blocks / layers <= AT_ONCE[usize::from(config.gpu)] as u64;
        let beside = if in_one { blocks / layers * (layers - 1) } else { 0 };
        Wire {
            blocks: share(2 * config.width() * blocks, config.parts),
            ends: share(config.width() * gathered, config.parts),
            gradients: added_up(reduced),
            beside: added_up(beside),
            sharing,
        }
    }

    /// Returns the bytes of all.
    pub fn total(&self) -> u64 {
        self.blocks + self.ends + self.gradients
    }

    /// Returns the seconds of a step that blocks' parameters and gradients take, which overlap with
    /// computing, and those of the rest, which do not.
    pub fn seconds(&self, link: Link) -> [f64; 2] {
        let rate = link.rate() * MOST_OF_LINK / self.sharing.max(1) as f64;
        let after = self.ends + self.gradients - self.beside;
        [self.blocks + self.beside, after].map(|bytes| bytes as f64 / rate)
    }
}
