//! Which examples a step sees, and how a step is cut into pieces that go through the model at once.
//!
//! The order is a function of (seed, epoch) and nothing else, so any step can be found again without replaying
//! the ones before it. Within a step examples are packed: one behind the other in one row, each with positions of its own
//! and attention that stays within it (Krell et al. 2021, <https://arxiv.org/abs/2107.02027>), so that nothing is padding. What
//! several begin with, a template's preamble and often more, is in the row once ([`crate::model::prefix_tree`]).
//!
//! Shapes: `t` tokens of a piece, `n` targets of it.

use super::dataset::Example;
use crate::model::prefix_tree::PrefixNode;
use ewe::cli::models::train::Order;
use rand::seq::SliceRandom;

/// How the dataset is dealt out.
#[derive(Debug, Clone)]
pub struct BatchSampler {
    /// Examples of an optimizer step; an epoch's last step takes what is left.
    pub batch_size: usize,
    /// Shuffled anew each epoch, or as they come.
    pub order: Order,
    /// Of the shuffle.
    pub seed: u64,
}

impl BatchSampler {
    /// Steps in a pass over `examples` examples.
    pub fn steps_per_epoch(&self, examples: usize) -> u64 {
        examples.div_ceil(self.batch_size) as u64
    }

    /// Indices of all examples in the order of an epoch, of which each step takes its share.
    pub fn epoch(&self, number: u64, examples: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..examples).collect();
        if self.order == Order::Shuffled {
            order.shuffle(&mut crate::train::rng(self.seed, "order", number));
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
pub struct MicroBatchLimits {
    /// Most examples.
    pub examples: usize,
    /// Most tokens; one example always goes, however long.
    pub positions: usize,
}

/// What goes through the model at once: examples one behind the other, with what several begin with before them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MicroBatch {
    /// Indices of its examples, in the order of their tokens.
    pub members: Vec<usize>,
    /// The row's parts: each is what all sequences through it have in common.
    pub branches: Vec<PrefixNode>,
    /// `[t]`: their tokens.
    pub id_t: Vec<i64>,
    /// `[n]`: where in `t` the next token is a target; twice where two examples have one there.
    pub position_n: Vec<i64>,
    /// `[n]`: that token.
    pub target_n: Vec<i64>,
}

/// An example on its way into a piece.
struct Member<'e> {
    example: &'e Example,
    /// Of each of its tokens so far, where in `t` it is.
    places: Vec<i64>,
}

impl Member<'_> {
    fn tokens(&self) -> &[u32] {
        seen(self.example)
    }
}

/// Tokens that go through the model: the last is a target only.
fn seen(example: &Example) -> &[u32] {
    &example.ids[..example.positions()]
}

/// How many tokens two sequences have in common from the first on.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl MicroBatch {
    /// Of `members` in the order of their tokens.
    fn of(examples: &[Example], members: &[usize]) -> MicroBatch {
        let mut sorted: Vec<Member> = members
            .iter()
            .map(|&index| Member {
                example: &examples[index],
                places: Vec::new(),
            })
            .collect();
        let mut piece = MicroBatch {
            members: members.to_vec(),
            ..MicroBatch::default()
        };
        piece.grow(&mut sorted, 0, None);
        for Member { example, places, .. } in &sorted {
            for at in example.learnt.iter().cloned().flatten() {
                piece.position_n.push(places[at - 1]);
                piece.target_n.push(i64::from(example.ids[at]));
            }
        }
        piece
    }

    /// `position_w`: the positions before targets, each once, in order; and `place_n`: of each target, which of these is its, unless they are
    /// simply the targets' own one by one.
    pub fn wanted(&self) -> (Vec<i64>, Option<Vec<i64>>) {
        let mut position_w = self.position_n.clone();
        position_w.sort_unstable();
        position_w.dedup();
        let place = |at: &i64| position_w.partition_point(|wanted| wanted < at) as i64;
        let place_n = (position_w != self.position_n).then(|| self.position_n.iter().map(place).collect());
        (position_w, place_n)
    }

    /// Adds the branches of sorted sequences that have their first `from` tokens in common, in branch `after` and those before it.
    fn grow(&mut self, sorted: &mut [Member], from: usize, after: Option<usize>) {
        let ended = sorted.iter().take_while(|of| of.tokens().len() == from).count();
        let alike = |a: &Member, b: &Member| a.tokens()[from] == b.tokens()[from];
        for group in sorted[ended..].chunk_by_mut(alike) {
            let (first, last) = (group[0].tokens(), group[group.len() - 1].tokens());
            let until = common(first, last);
            let offset = self.id_t.len() as i64;
            let branch = self.branches.len();
            self.branches.push(PrefixNode {
                length: (until - from) as i64,
                after,
            });
            self.id_t
                .extend(first[from..until].iter().map(|&id| i64::from(id)));
            for member in group.iter_mut() {
                member.places.extend(offset..self.id_t.len() as i64);
            }
            self.grow(group, until, Some(branch));
        }
    }
}

/// A piece that is still being filled.
#[derive(Default)]
struct Filling {
    /// In the order of their tokens.
    members: Vec<usize>,
    tokens: usize,
}

impl Filling {
    /// Where among the members the example at `index` belongs.
    fn place(&self, examples: &[Example], index: usize) -> usize {
        let tokens = seen(&examples[index]);
        self.members
            .partition_point(|&other| seen(&examples[other]) <= tokens)
    }

    /// Tokens that the example at `index` would add: it has most in common with a neighbour.
    fn added(&self, examples: &[Example], index: usize) -> usize {
        let (tokens, place) = (seen(&examples[index]), self.place(examples, index));
        let neighbours = &self.members[place.saturating_sub(1)..self.members.len().min(place + 1)];
        let shared = |&other: &usize| common(tokens, seen(&examples[other]));
        tokens.len() - neighbours.iter().map(shared).max().unwrap_or(0)
    }

    fn add(&mut self, examples: &[Example], index: usize, tokens: usize) {
        let place = self.place(examples, index);
        self.members.insert(place, index);
        self.tokens += tokens;
    }
}

/// Packs `members` into pieces within `limits`: the longest first, each into the piece with room for it that it has most in common with,
/// the first of those. Where nothing is in common this takes at most 11/9 as many pieces as the best packing, and one (Johnson 1973).
pub fn pack(examples: &[Example], members: &[usize], limits: MicroBatchLimits) -> Vec<MicroBatch> {
    let mut sorted = members.to_vec();
    sorted.sort_by_key(|&index| (std::cmp::Reverse(examples[index].positions()), index));
    let mut fillings: Vec<Filling> = Vec::new();
    for index in sorted {
        let roomy = fillings
            .iter_mut()
            .filter(|filling| filling.members.len() < limits.examples)
            .map(|filling| (filling.added(examples, index), filling))
            .filter(|(added, filling)| filling.tokens + added <= limits.positions)
            .min_by_key(|(added, _)| *added);
        match roomy {
            Some((added, filling)) => filling.add(examples, index, added),
            None => {
                let mut filling = Filling::default();
                filling.add(examples, index, examples[index].positions());
                fillings.push(filling);
            }
        }
    }
    fillings
        .iter()
        .map(|filling| MicroBatch::of(examples, &filling.members))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples(lengths: &[usize]) -> Vec<Example> {
        let example = |(n, &length): (usize, &usize)| {
            let ids = (0..length as u32).map(|at| 10 * n as u32 + at).collect();
            Example::learnt_from(1, format!("line {n}"), ids)
        };
        lengths.iter().enumerate().map(example).collect()
    }

    #[test]
    fn an_epoch_deals_every_example_once_and_differs_from_the_next() {
        let dealing = BatchSampler {
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
        let sequential = BatchSampler {
            order: Order::Sequential,
            ..dealing
        };
        assert_eq!(sequential.step(7, 10), [9]);
    }

    #[test]
    fn examples_are_packed_longest_first_into_the_first_piece_with_room() {
        let examples = examples(&[3, 6, 4, 2]);
        let all = |examples_at_once, positions| MicroBatchLimits {
            examples: examples_at_once,
            positions,
        };
        let members = |pieces: &[MicroBatch]| -> Vec<Vec<usize>> {
            pieces.iter().map(|piece| piece.members.clone()).collect()
        };
        // Of 6, 4, 3 and 2 tokens the last is a target only: 5, 3, 2 and 1 go through the model.
        let pieces = pack(&examples, &[0, 1, 2, 3], all(9, 7));
        assert_eq!(members(&pieces), [vec![0, 1], vec![2, 3]]);
        assert_eq!(pieces[0].id_t, [0, 1, 10, 11, 12, 13, 14]);
        assert_eq!(branches(&pieces[0]), [(2, None), (5, None)]);
        assert_eq!(pieces[0].position_n, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(pieces[0].target_n, [1, 2, 11, 12, 13, 14, 15]);
        assert_eq!(branches(&pieces[1]), [(3, None), (1, None)]);
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

    fn branches(piece: &MicroBatch) -> Vec<(i64, Option<usize>)> {
        piece.branches.iter().map(|of| (of.length, of.after)).collect()
    }

    fn example(ids: &[u32], first_target: usize) -> Example {
        Example::learnt_from(first_target, String::new(), ids.to_vec())
    }

    #[test]
    fn what_several_begin_with_is_there_once() {
        let examples = [
            example(&[1, 2, 3, 4, 5, 6], 4),
            example(&[1, 2, 3, 7, 8], 3),
            example(&[9, 9, 9], 1),
            // As the first, but for the token that is a target only.
            example(&[1, 2, 3, 4, 5, 0], 4),
            // All of it is what others begin with.
            example(&[1, 2, 3, 5], 2),
        ];
        let limits = MicroBatchLimits {
            examples: 9,
            positions: 99,
        };
        let pieces = pack(&examples, &[0, 1, 2, 3, 4], limits);
        assert_eq!(pieces.len(), 1);
        let piece = &pieces[0];
        assert_eq!(piece.members, [4, 0, 3, 1, 2]);
        assert_eq!(piece.id_t, [1, 2, 3, 4, 5, 7, 9, 9]);
        assert_eq!(
            branches(piece),
            [(3, None), (2, Some(0)), (1, Some(0)), (2, None)]
        );
        assert_eq!(piece.position_n, [1, 2, 3, 4, 3, 4, 2, 5, 6, 7]);
        assert_eq!(piece.target_n, [3, 5, 5, 6, 5, 0, 7, 8, 9, 9]);
        let places = vec![0, 1, 2, 3, 2, 3, 1, 4, 5, 6];
        assert_eq!(piece.wanted(), (vec![1, 2, 3, 4, 5, 6, 7], Some(places)));
        let alone = MicroBatch::of(&examples, &[1]);
        assert_eq!(alone.wanted(), (vec![2, 3], None));
        // Room for what an example adds is room for it; one that adds less goes where it does.
        let tight = MicroBatchLimits {
            positions: 6,
            ..limits
        };
        let members: Vec<Vec<usize>> = pack(&examples, &[0, 1, 2, 3, 4], tight)
            .into_iter()
            .map(|piece| piece.members)
            .collect();
        assert_eq!(members, [vec![4, 0, 3, 1], vec![2]]);
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
        let limits = MicroBatchLimits {
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
