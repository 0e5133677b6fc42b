//! Which examples a step sees, and how a step is cut into pieces that go through the model at once.
//!
//! The order is a function of (seed, epoch) and nothing else, so any step can be found again without replaying
//! the ones before it. Within a step examples are packed: one behind the other in one row, each with positions of its own
//! and attention that stays within it (Krell et al. 2021, <https://arxiv.org/abs/2107.02027>), so that nothing is padding.
//!
//! Shapes: `t` tokens of a piece, `n` targets of it.

use super::dataset::Example;
use ewe::cli::train::Order;
use rand::seq::SliceRandom;

/// How the dataset is dealt out.
#[derive(Debug, Clone)]
pub struct Dealing {
    /// Examples of an optimizer step; an epoch's last step takes what is left.
    pub batch_size: usize,
    /// Shuffled anew each epoch, or as they come.
    pub order: Order,
    /// Of the shuffle.
    pub seed: u64,
}

impl Dealing {
    /// Steps in a pass over `examples` examples.
    pub fn steps_per_epoch(&self, examples: usize) -> u64 {
        examples.div_ceil(self.batch_size) as u64
    }

    /// Indices of all examples in the order of an epoch, of which each step takes its share.
    pub fn epoch(&self, number: u64, examples: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..examples).collect();
        if self.order == Order::Shuffled {
            order.shuffle(&mut super::rng(self.seed, "order", number));
        }
        order
    }

    /// Indices of the examples of `step` (counted from 0), out of `examples` in all.
    pub fn step(&self, step: u64, examples: usize) -> Vec<usize> {
        let per_epoch = self.steps_per_epoch(examples);
        let order = self.epoch(step / per_epoch, examples);
        let start = (step % per_epoch) as usize * self.batch_size;
        order[start..examples.min(start + self.batch_size)].to_vec()
    }
}

/// How much goes through the model at once.
#[derive(Debug, Clone, Copy)]
pub struct PieceLimits {
    /// Most examples.
    pub examples: usize,
    /// Most tokens; one example always goes, however long.
    pub positions: usize,
}

/// What goes through the model at once: examples one behind the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Piece {
    /// Indices of its examples.
    pub members: Vec<usize>,
    /// Tokens of each, in order.
    pub lengths: Vec<i64>,
    /// `[t]`: their tokens.
    pub id_t: Vec<i64>,
    /// `[n]`: where in `t` the next token is a target.
    pub position_n: Vec<i64>,
    /// `[n]`: that token.
    pub target_n: Vec<i64>,
}

impl Piece {
    fn fits(&self, length: usize, limits: PieceLimits) -> bool {
        self.members.len() < limits.examples && self.id_t.len() + length <= limits.positions
    }

    fn add(&mut self, index: usize, example: &Example) {
        let offset = self.id_t.len();
        self.members.push(index);
        self.lengths.push(example.positions() as i64);
        self.id_t
            .extend(example.ids[..example.positions()].iter().map(|&id| i64::from(id)));
        for at in example.first_target..example.ids.len() {
            self.position_n.push((offset + at - 1) as i64);
            self.target_n.push(i64::from(example.ids[at]));
        }
    }
}

/// Packs `members` into pieces within `limits`: the longest first, each into the first piece that has room for it, which
/// takes at most 11/9 as many pieces as the best packing, and one (Johnson 1973).
pub fn pack(examples: &[Example], members: &[usize], limits: PieceLimits) -> Vec<Piece> {
    let mut sorted = members.to_vec();
    sorted.sort_by_key(|&index| (std::cmp::Reverse(examples[index].positions()), index));
    let mut pieces: Vec<Piece> = Vec::new();
    for index in sorted {
        let example = &examples[index];
        let roomy = pieces
            .iter_mut()
            .find(|piece| piece.fits(example.positions(), limits));
        match roomy {
            Some(piece) => piece.add(index, example),
            None => {
                let mut piece = Piece::default();
                piece.add(index, example);
                pieces.push(piece);
            }
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples(lengths: &[usize]) -> Vec<Example> {
        let example = |(n, &length): (usize, &usize)| Example {
            id: format!("line {n}"),
            ids: (0..length as u32).map(|at| 10 * n as u32 + at).collect(),
            first_target: 1,
        };
        lengths.iter().enumerate().map(example).collect()
    }

    #[test]
    fn an_epoch_deals_every_example_once_and_differs_from_the_next() {
        let dealing = Dealing {
            batch_size: 3,
            order: Order::Shuffled,
            seed: 7,
        };
        let epoch = |number: u64| {
            (0..4)
                .flat_map(|step| dealing.step(number * 4 + step, 10))
                .collect::<Vec<_>>()
        };
        let mut first = epoch(0);
        assert_ne!(first, epoch(1));
        assert_eq!(first, epoch(0));
        first.sort_unstable();
        assert_eq!(first, (0..10).collect::<Vec<_>>());
        let sequential = Dealing {
            order: Order::Sequential,
            ..dealing
        };
        assert_eq!(sequential.step(7, 10), [9]);
    }

    #[test]
    fn examples_are_packed_longest_first_into_the_first_piece_with_room() {
        let examples = examples(&[3, 6, 4, 2]);
        let all = |examples_at_once, positions| PieceLimits {
            examples: examples_at_once,
            positions,
        };
        let members = |pieces: &[Piece]| -> Vec<Vec<usize>> {
            pieces.iter().map(|piece| piece.members.clone()).collect()
        };
        // Of 6, 4, 3 and 2 tokens the last is a target only: 5, 3, 2 and 1 go through the model.
        let pieces = pack(&examples, &[0, 1, 2, 3], all(9, 7));
        assert_eq!(members(&pieces), [vec![1, 0], vec![2, 3]]);
        assert_eq!(pieces[0].id_t, [10, 11, 12, 13, 14, 0, 1]);
        assert_eq!(pieces[0].lengths, [5, 2]);
        assert_eq!(pieces[0].position_n, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(pieces[0].target_n, [11, 12, 13, 14, 15, 1, 2]);
        assert_eq!(pieces[1].lengths, [3, 1]);
        // What fits nowhere goes alone, and no piece has more examples than allowed.
        assert_eq!(
            members(&pack(&examples, &[0, 1, 2, 3], all(9, 1))),
            [vec![1], vec![2], vec![0], vec![3]]
        );
        assert_eq!(
            members(&pack(&examples, &[0, 1, 2, 3], all(2, 99))),
            [vec![1, 2], vec![0, 3]]
        );
    }

    #[test]
    fn lengths_of_alpaca_fill_their_pieces() {
        // Lengths as in Alpaca's data: most around 80 tokens, few of several hundred.
        let mut rng = crate::train::rng(1, "lengths", 0);
        let lengths: Vec<usize> = (0..512)
            .map(|_| {
                let even: f64 = rand::RngExt::random(&mut rng);
                (40.0 + 70.0 * -(1.0 - even).ln()) as usize
            })
            .collect();
        let examples = examples(&lengths);
        let limits = PieceLimits {
            examples: 999,
            positions: 2048,
        };
        let pieces = pack(&examples, &(0..512).collect::<Vec<_>>(), limits);
        let tokens: usize = pieces.iter().map(|piece| piece.id_t.len()).sum();
        assert_eq!(tokens, lengths.iter().map(|length| length - 1).sum::<usize>());
        // The last one takes what is left.
        let full = &pieces[..pieces.len() - 1];
        let fill =
            full.iter().map(|piece| piece.id_t.len()).sum::<usize>() as f64 / (2048 * full.len()) as f64;
        assert!(fill >= 0.97, "{fill}");
    }
}
