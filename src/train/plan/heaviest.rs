//! Which pieces of a run take most memory. What a piece takes grows with its tokens and with its targets, and with `--update-in-backward`
//! with the tokens of the step's other pieces, which wait between blocks; so whatever takes most is among those that no other piece
//! exceeds in all of these.

use crate::train::data::dataset::Example;
use crate::train::data::micro_batch::{self, BatchSampler, MicroBatch, MicroBatchLimits};
use crate::train::settings::Settings;
use ewe::cli::models::train::Order;

/// Epochs that are looked at, and examples: what these did not bring others hardly will.
const EPOCHS: u64 = 1000;
const LOOKED_AT: usize = 1 << 22;
/// Examples of which steps are cut to see their pieces. Pieces of cut steps are nearly full, and so much alike.
const PACKED: usize = 1 << 18;

/// A piece, and what waits beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// The piece.
    pub piece: MicroBatch,
    /// The step's other pieces, where they are on their way through the blocks together with it.
    pub beside: Vec<MicroBatch>,
}

impl Demand {
    /// What its memory grows with.
    fn size(&self) -> [usize; 3] {
        [
            self.piece.id_t.len(),
            self.piece.target_n.len(),
            self.tokens_beside(),
        ]
    }

    /// Tokens of the pieces beside it.
    pub fn tokens_beside(&self) -> usize {
        self.beside.iter().map(|piece| piece.id_t.len()).sum()
    }
}

/// The steps of a run.
#[derive(Debug, Clone)]
pub struct Steps {
    /// Which examples a step sees.
    pub dealing: BatchSampler,
    /// How it is cut.
    pub limits: MicroBatchLimits,
    /// How many there are.
    pub total: u64,
    /// Whether all pieces of a step go through the blocks together.
    pub together: bool,
}

impl Steps {
    /// Those that `settings` make.
    pub fn of(settings: &Settings) -> Steps {
        Steps {
            dealing: settings.dealing(),
            limits: settings.limits(),
            total: settings.schedule.total,
            together: settings.update_in_backward,
        }
    }
}

/// What takes most memory in a run.
#[derive(Debug, Default)]
pub struct Largest {
    /// None of them exceeds another in everything. None at all where there is nothing to train on.
    pub demands: Vec<Demand>,
    /// Whether a step has several pieces.
    pub cut: bool,
}

impl Largest {
    /// Of all `steps`, whichever epoch they belong to.
    pub fn of(steps: &Steps, examples: &[Example]) -> Largest {
        let per_epoch = steps.dealing.steps_per_epoch(examples.len());
        let mut largest = Largest::default();
        let mut seen = 0;
        for epoch in 0..steps.total.div_ceil(per_epoch.max(1)).min(EPOCHS) {
            let left = usize::try_from(steps.total - epoch * per_epoch).unwrap_or(usize::MAX);
            let order = steps.dealing.epoch(epoch, examples.len());
            for members in order.chunks(steps.dealing.batch_size).take(left) {
                largest.look_at(steps, examples, members, seen < PACKED);
                seen += members.len();
            }
            // Every epoch would be the same, or hardly bring anything.
            if seen > LOOKED_AT || steps.dealing.order == Order::Sequential {
                break;
            }
        }
        largest
    }

    /// Of the step of `members`. Where it would be cut it is passed over unless it `may_be_cut`.
    fn look_at(&mut self, steps: &Steps, examples: &[Example], members: &[usize], may_be_cut: bool) {
        let limits = steps.limits;
        let sum = |of: fn(&Example) -> usize| members.iter().map(|&index| of(&examples[index])).sum();
        let (tokens, targets): (usize, usize) = (sum(Example::positions), sum(Example::targets));
        let whole = tokens <= limits.positions && members.len() <= limits.examples;
        // Packing takes longer than to see that it would bring nothing new.
        if (whole && self.exceeds([tokens, targets, 0])) || !(whole || may_be_cut) {
            return;
        }
        let pieces = micro_batch::pack(examples, members, limits);
        self.cut |= pieces.len() > 1;
        for (index, piece) in pieces.iter().enumerate() {
            let mut beside = Vec::new();
            if steps.together {
                beside = pieces.clone();
                beside.remove(index);
            }
            let piece = piece.clone();
            self.add(Demand { piece, beside });
        }
    }

    /// Whether one of them is at least as large in everything.
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

    /// Examples with nothing in common, of so many tokens and targets.
    fn examples(sizes: impl Iterator<Item = (usize, usize)>) -> Vec<Example> {
        let example = |(n, (tokens, targets)): (usize, (usize, usize))| {
            let ids = (0..=tokens as u32).map(|at| 1000 * n as u32 + at).collect();
            Example::learnt_from(1 + tokens - targets, format!("line {n}"), ids)
        };
        sizes.enumerate().map(example).collect()
    }

    fn steps(total: u64, positions: usize, together: bool) -> Steps {
        Steps {
            dealing: BatchSampler {
                batch_size: 4,
                order: Order::Shuffled,
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
                let pieces =
                    micro_batch::pack(&examples, &steps.dealing.step(step, examples.len()), steps.limits);
                let all: usize = pieces.iter().map(|piece| piece.id_t.len()).sum();
                for piece in &pieces {
                    tokens = tokens.max(piece.id_t.len());
                    waiting = waiting.max(all - piece.id_t.len());
                    // Some demand is at least as large as this piece in all.
                    let beside = if together { all - piece.id_t.len() } else { 0 };
                    let size = [piece.id_t.len(), piece.target_n.len(), beside];
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
