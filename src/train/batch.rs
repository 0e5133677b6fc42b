//! Which examples a step sees, and how a step is cut into pieces that go through the model at once.
//!
//! The order is a function of (seed, epoch) and nothing else, so any step can be found again without replaying
//! the ones before it. Within a step examples are sorted by length, so that little of a piece is padding;
//! padding is on the right, where a causal model needs no mask for it.
//!
//! Shapes: `b` examples, `t` padded positions, `n` targets of a piece.

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

    /// Indices of the examples of `step` (counted from 0), out of `examples` in all.
    pub fn step(&self, step: u64, examples: usize) -> Vec<usize> {
        let per_epoch = self.steps_per_epoch(examples);
        let mut order: Vec<usize> = (0..examples).collect();
        if self.order == Order::Shuffled {
            order.shuffle(&mut super::rng(self.seed, "order", step / per_epoch));
        }
        let start = (step % per_epoch) as usize * self.batch_size;
        order[start..examples.min(start + self.batch_size)].to_vec()
    }
}

/// How much goes through the model at once.
#[derive(Debug, Clone, Copy)]
pub struct PieceLimits {
    /// Most examples.
    pub examples: usize,
    /// Most positions, padding included; one example always goes, however long.
    pub positions: usize,
}

/// What goes through the model at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Indices of its examples.
    pub members: Vec<usize>,
    /// `ids[b*t]`, padded on the right.
    pub ids_bt: Vec<i64>,
    /// Examples.
    pub rows: usize,
    /// Positions of each, padding included.
    pub width: usize,
    /// `[n]`: where in `b*t` the next token is a target.
    pub position_n: Vec<i64>,
    /// `[n]`: that token.
    pub target_n: Vec<i64>,
}

/// Sorts `members` by length and cuts them into pieces within `limits`. What they are padded with is never seen by
/// a target, so token 0 serves every model.
pub fn cut(examples: &[Example], members: &[usize], limits: PieceLimits) -> Vec<Piece> {
    let mut sorted = members.to_vec();
    sorted.sort_by_key(|&index| (std::cmp::Reverse(examples[index].positions()), index));
    let mut pieces = Vec::new();
    let mut rest = sorted.as_slice();
    while let Some(&longest) = rest.first() {
        let width = examples[longest].positions();
        let rows = (limits.positions / width)
            .min(limits.examples)
            .clamp(1, rest.len());
        let (taken, left) = rest.split_at(rows);
        pieces.push(piece(examples, taken, width));
        rest = left;
    }
    pieces
}

fn piece(examples: &[Example], members: &[usize], width: usize) -> Piece {
    let mut ids_bt = vec![0; members.len() * width];
    let (mut position_n, mut target_n) = (Vec::new(), Vec::new());
    for (row, &index) in members.iter().enumerate() {
        let example = &examples[index];
        for (column, &id) in example.ids[..example.positions()].iter().enumerate() {
            ids_bt[row * width + column] = i64::from(id);
        }
        for at in example.first_target..example.ids.len() {
            position_n.push((row * width + at - 1) as i64);
            target_n.push(i64::from(example.ids[at]));
        }
    }
    Piece {
        members: members.to_vec(),
        ids_bt,
        rows: members.len(),
        width,
        position_n,
        target_n,
    }
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
    fn pieces_are_sorted_padded_right_and_within_limits() {
        let examples = examples(&[3, 5, 4]);
        let pieces = cut(
            &examples,
            &[0, 1, 2],
            PieceLimits {
                examples: 9,
                positions: 8,
            },
        );
        assert_eq!(pieces.len(), 2);
        assert_eq!(pieces[0].members, [1, 2]);
        assert_eq!(pieces[0].ids_bt, [10, 11, 12, 13, 20, 21, 22, 0]);
        assert_eq!(pieces[0].position_n, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(pieces[0].target_n, [11, 12, 13, 14, 21, 22, 23]);
        assert_eq!(pieces[1].members, [0]);
        let alone = cut(
            &examples,
            &[0, 1, 2],
            PieceLimits {
                examples: 1,
                positions: 1,
            },
        );
        assert_eq!(
            alone.iter().map(|piece| piece.rows).collect::<Vec<_>>(),
            [1, 1, 1]
        );
    }
}
