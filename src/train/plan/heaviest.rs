//! The micro-batches of a run that need most memory. The need grows with tokens and targets, and
//! with `--update-in-backward` also with the tokens of the step's other micro-batches, which wait
//! between blocks. So the heaviest is among those that no other exceeds in all of these.

use crate::train::data::dataset::Example;
use crate::train::data::micro_batch::{self, BatchSampler, MicroBatch, MicroBatchLimits};
use crate::train::settings::Settings;
use ewe::finetune::RowOrder;

/// Limits of the search, in epochs and examples: more will hardly bring a heavier micro-batch.
const EPOCHS: u64 = 1000;
const LOOKED_AT: usize = 1 << 22;
/// Examples whose steps are packed if they have to be cut. Micro-batches of cut steps are nearly
/// full, and so much alike.
const PACKED: usize = 1 << 18;

/// A micro-batch, and what waits beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// The micro-batch.
    pub micro_batch: MicroBatch,
    /// The step's other micro-batches, if they pass through the blocks together with it.
    pub beside: Vec<MicroBatch>,
}

impl Demand {
    /// Returns the numbers that its memory grows with.
    fn size(&self) -> [usize; 3] {
        [
            self.micro_batch.id_t.len(),
            self.micro_batch.target_n.len(),
            self.tokens_beside(),
        ]
    }

    /// Returns the tokens of the micro-batches beside it.
    pub fn tokens_beside(&self) -> usize {
        self.beside.iter().map(|micro_batch| micro_batch.id_t.len()).sum()
    }
}

/// The steps of a run.
#[derive(Debug, Clone)]
pub struct Steps {
    /// Decides which examples form a step.
    pub sampler: BatchSampler,
    /// Limits of a micro-batch.
    pub limits: MicroBatchLimits,
    /// Count of steps.
    pub total: u64,
    /// Whether all micro-batches of a step pass through the blocks together.
    pub together: bool,
}

impl Steps {
    /// Returns the steps of a run with these settings, whose parameters are divided among `parts`
    /// ranks.
    pub fn of(settings: &Settings, parts: usize) -> Steps {
        Steps {
            sampler: settings.sampler(),
            limits: settings.limits(),
            total: settings.schedule.total,
            together: settings.formats.update_in_backward || parts > 1,
        }
    }
}

/// The micro-batches of a run that may be the heaviest.
#[derive(Debug, Default)]
pub struct Largest {
    /// Micro-batches of which none exceeds another in everything; empty if there is nothing to
    /// train on.
    pub demands: Vec<Demand>,
    /// Whether a step has several micro-batches.
    pub cut: bool,
}

impl Largest {
    /// Finds them among all `steps` of all epochs.
    pub fn of(steps: &Steps, examples: &[Example]) -> Largest {
        let per_epoch = steps.sampler.steps_per_epoch(examples.len());
        let mut largest = Largest::default();
        let mut seen = 0;
        for epoch in 0..steps.total.div_ceil(per_epoch.max(1)).min(EPOCHS) {
            let left = usize::try_from(steps.total - epoch * per_epoch).unwrap_or(usize::MAX);
            let order = steps.sampler.epoch(epoch, examples.len());
            for members in order.chunks(steps.sampler.batch_size).take(left) {
                largest.look_at(steps, examples, members, seen < PACKED);
                seen += members.len();
            }
            // Further epochs would be the same, or hardly bring a heavier one.
            if seen > LOOKED_AT || steps.sampler.order == RowOrder::Sequential {
                break;
            }
        }
        largest
    }

    /// Looks at the step of `members`. A step that has to be cut is skipped unless it `may_be_cut`.
    fn look_at(&mut self, steps: &Steps, examples: &[Example], members: &[usize], may_be_cut: bool) {
        let limits = steps.limits;
        let sum = |of: fn(&Example) -> usize| members.iter().map(|&index| of(&examples[index])).sum();
        let (tokens, targets): (usize, usize) = (sum(Example::positions), sum(Example::target_count));
        let whole = tokens <= limits.positions && members.len() <= limits.examples;
        // Packing takes longer than to see that it would bring nothing new.
        if (whole && self.exceeds([tokens, targets, 0])) || !(whole || may_be_cut) {
            return;
        }
        let micro_batches = micro_batch::pack(examples, members, limits);
        self.cut |= micro_batches.len() > 1;
        for (index, micro_batch) in micro_batches.iter().enumerate() {
            let mut beside = Vec::new();
            if steps.together {
                beside = micro_batches.clone();
                beside.remove(index);
            }
            let micro_batch = micro_batch.clone();
            self.add(Demand { micro_batch, beside });
        }
    }

    /// Returns whether a known micro-batch is at least as large in everything.
    fn exceeds(&self, size: [usize; 3]) -> bool {
        let exceeds = |of: &Demand| of.size().iter().zip(size).all(|(of, than)| *of >= than);
        self.demands.iter().any(exceeds)
    }

    fn add(&mut self, demand: Demand) {
        if self.exceeds(demand.size()) {
            return;
        }
        let size = demand.size();
        self.demands
            .retain(|of| of.size().iter().zip(size).any(|(of, than)| *of > than));
        self.demands.push(demand);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Examples without shared prefixes, with these numbers of tokens and targets.
    fn examples(sizes: impl Iterator<Item = (usize, usize)>) -> Vec<Example> {
        let example = |(n, (tokens, targets)): (usize, (usize, usize))| {
            let ids = (0..=tokens as u32).map(|at| 1000 * n as u32 + at).collect();
            Example::with_targets_from(1 + tokens - targets, format!("line {n}"), ids)
        };
        sizes.enumerate().map(example).collect()
    }

    fn steps(total: u64, positions: usize, together: bool) -> Steps {
        Steps {
            sampler: BatchSampler {
                batch_size: 4,
                order: RowOrder::Shuffled,
                seed: 3,
            },
            limits: MicroBatchLimits {
                examples: 4,
                positions,
            },
            total,
            together,
        }
    }

    #[test]
    fn no_step_of_any_epoch_is_larger() {
        let examples = examples((0..50).map(|n| (1 + n * n % 97, 1 + n * 7 % (1 + n * n % 97).max(1))));
        for (positions, together) in [(1000, false), (120, false), (120, true)] {
            let steps = steps(13 * 20, positions, together);
            let Largest { demands, cut } = Largest::of(&steps, &examples);
            assert_eq!(cut, positions < 1000);
            let most = |index: usize| demands.iter().map(|of| of.size()[index]).max().unwrap();
            let (mut tokens, mut first, mut waiting) = (0, 0, 0);
            for step in 0..steps.total {
                let micro_batches =
                    micro_batch::pack(&examples, &steps.sampler.step(step, examples.len()), steps.limits);
                let all: usize = micro_batches
                    .iter()
                    .map(|micro_batch| micro_batch.id_t.len())
                    .sum();
                for micro_batch in &micro_batches {
                    tokens = tokens.max(micro_batch.id_t.len());
                    waiting = waiting.max(all - micro_batch.id_t.len());
                    // Some known micro-batch is at least as large as this one in everything.
                    let beside = if together { all - micro_batch.id_t.len() } else { 0 };
                    let size = [micro_batch.id_t.len(), micro_batch.target_n.len(), beside];
                    let exceeds = |of: &Demand| of.size().iter().zip(size).all(|(of, than)| *of >= than);
                    assert!(demands.iter().any(exceeds), "{size:?}");
                }
                if step < 13 {
                    first = tokens;
                }
            }
            assert_eq!(most(0), tokens);
            assert_eq!(most(2), if together { waiting } else { 0 });
            assert!(
                positions < 1000 || first < tokens,
                "the first epoch has the largest by chance"
            );
        }
    }

    #[test]
    fn a_run_without_end_is_looked_at_in_no_time() {
        let begun = std::time::Instant::now();
        let examples = examples((0..20).map(|n| (n + 1, 1)));
        assert!(
            !Largest::of(&steps(u64::MAX, 1000, false), &examples)
                .demands
                .is_empty()
        );
        assert!(begun.elapsed().as_secs() < 60);
    }
}
