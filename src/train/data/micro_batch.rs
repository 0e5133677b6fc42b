//! The batch sampler, and the packing of a step's examples into micro-batches.
//!
//! The order of examples is a function of (seed, epoch) and nothing else, so any step can be found
//! again without replaying the ones before it. Within a step examples are packed without padding:
//! one behind the other in one row, each with its own positions and attending only to itself (Krell
//! et al. 2021, <https://arxiv.org/abs/2107.02027>). A prefix that several examples share, such as
//! a template's preamble, is in the row once ([`crate::model::layers::prefix_tree`]).
//!
//! Shapes: `t` tokens of a micro-batch, `n` targets of it.

use super::dataset::Example;
use crate::model::layers::prefix_tree::PrefixNode;
use ewe::finetune::RowOrder;
use rand::seq::SliceRandom;
use std::collections::HashMap;

/// Decides which examples form a step.
#[derive(Debug, Clone)]
pub struct BatchSampler {
    /// Examples per optimizer step; the last step of an epoch takes the rest.
    pub batch_size: usize,
    /// Order of the examples.
    pub order: RowOrder,
    /// Seed of the shuffle.
    pub seed: u64,
}

impl BatchSampler {
    /// Returns the steps in one pass over `examples` examples.
    pub fn steps_per_epoch(&self, examples: usize) -> u64 {
        examples.div_ceil(self.batch_size) as u64
    }

    /// Returns the indices of all examples in the order of epoch `number`; each step takes its
    /// share.
    pub fn epoch(&self, number: u64, examples: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..examples).collect();
        if self.order == RowOrder::Shuffled {
            order.shuffle(&mut crate::train::rng(self.seed, "order", number));
        }
        order
    }

    /// Returns the indices of the examples of `step` (counted from 0), out of `examples` in all.
    pub fn step(&self, step: u64, examples: usize) -> Vec<usize> {
        let per_epoch = self.steps_per_epoch(examples);
        let order = self.epoch(step / per_epoch, examples);
        let start = (step % per_epoch) as usize * self.batch_size;
        order[start..examples.min(start + self.batch_size)].to_vec()
    }
}

/// Limits of a micro-batch.
#[derive(Debug, Clone, Copy)]
pub struct MicroBatchLimits {
    /// Most examples.
    pub examples: usize,
    /// Most tokens; one example always fits, however long.
    pub positions: usize,
}

/// Examples that pass through the model at once: one behind the other, shared prefixes before them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MicroBatch {
    /// Indices of the examples, in the order of their tokens.
    pub members: Vec<usize>,
    /// The prefix tree: each node holds what all sequences through it share.
    pub nodes: Vec<PrefixNode>,
    /// `[t]`: tokens of all nodes.
    pub id_t: Vec<i64>,
    /// `[n]`: positions in `t` before a target; twice where two examples have a target there.
    pub position_n: Vec<i64>,
    /// `[n]`: the targets.
    pub target_n: Vec<i64>,
}

/// An example on its way into a micro-batch.
struct Member<'e> {
    example: &'e Example,
    /// Position in `t` of each of its tokens so far.
    places: Vec<i64>,
}

impl Member<'_> {
    fn tokens(&self) -> &[u32] {
        input_tokens(self.example)
    }
}

/// Returns the tokens that pass through the model: the last is a target only.
fn input_tokens(example: &Example) -> &[u32] {
    &example.ids[..example.positions()]
}

/// Returns the length of the common prefix of two sequences.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl MicroBatch {
    /// Makes the micro-batch of `members`, which are in the order of their tokens.
    fn of(examples: &[Example], members: &[usize]) -> MicroBatch {
        let mut sorted: Vec<Member> = members
            .iter()
            .map(|&index| Member {
                example: &examples[index],
                places: Vec::new(),
            })
            .collect();
        let mut micro_batch = MicroBatch {
            members: members.to_vec(),
            ..MicroBatch::default()
        };
        micro_batch.grow(&mut sorted, 0, None);
        for Member { example, places, .. } in &sorted {
            for at in example.targets.iter().cloned().flatten() {
                micro_batch.position_n.push(places[at - 1]);
                micro_batch.target_n.push(i64::from(example.ids[at]));
            }
        }
        micro_batch
    }

    /// Returns `position_w`, the positions before targets, each once, in order; and `place_n`, for
    /// each target the index of its position, none if positions and targets go one by one.
    pub fn wanted(&self) -> (Vec<i64>, Option<Vec<i64>>) {
        let mut position_w = self.position_n.clone();
        position_w.sort_unstable();
        position_w.dedup();
        let place = |at: &i64| position_w.partition_point(|wanted| wanted < at) as i64;
        let place_n = (position_w != self.position_n).then(|| self.position_n.iter().map(place).collect());
        (position_w, place_n)
    }

    /// Returns a key of each token, `[t]`: a hash of the tokens from the beginning of its sequence
    /// up to it. So whatever is drawn by it does not depend on the cut.
    pub fn keys(&self) -> Vec<i64> {
        let mut keys: Vec<i64> = Vec::with_capacity(self.id_t.len());
        let mut ends: Vec<u64> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let mut key = node.after.map_or(0, |before| ends[before]);
            let from = keys.len();
            for &id in &self.id_t[from..from + node.length as usize] {
                key = next_key(key, id as u64);
                keys.push(key as i64);
            }
            ends.push(key);
        }
        keys
    }

    /// Returns the length of the longest sequence through each token, `[t]`.
    pub fn lengths(&self) -> Vec<i64> {
        let mut longest: Vec<i64> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            longest.push(node.length + node.after.map_or(0, |before| longest[before]));
        }
        for (index, node) in self.nodes.iter().enumerate().rev() {
            if let Some(before) = node.after {
                longest[before] = longest[before].max(longest[index]);
            }
        }
        let nodes = self.nodes.iter().zip(longest);
        let each = nodes.map(|(node, longest)| std::iter::repeat_n(longest, node.length as usize));
        each.flatten().collect()
    }

    /// Adds the nodes of sorted sequences whose first `from` tokens, in node `after` and its
    /// ancestors, are the same.
    fn grow(&mut self, sorted: &mut [Member], from: usize, after: Option<usize>) {
        let ended = sorted.iter().take_while(|of| of.tokens().len() == from).count();
        let alike = |a: &Member, b: &Member| a.tokens()[from] == b.tokens()[from];
        for group in sorted[ended..].chunk_by_mut(alike) {
            let (first, last) = (group[0].tokens(), group[group.len() - 1].tokens());
            let until = common(first, last);
            let offset = self.id_t.len() as i64;
            let branch = self.nodes.len();
            self.nodes.push(PrefixNode {
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

/// Returns the key of a token after the one with `key`: SplitMix64's step and finalizer (Steele et
/// al. 2014).
fn next_key(key: u64, id: u64) -> u64 {
    let mut z = (key ^ id).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Returns the length of the longest of `members` through each [key](MicroBatch::keys).
pub fn longest(examples: &[Example], members: &[usize]) -> HashMap<i64, i64> {
    let mut longest = HashMap::new();
    for &index in members {
        let tokens = input_tokens(&examples[index]);
        let mut key = 0;
        for &id in tokens {
            key = next_key(key, u64::from(id));
            let most = longest.entry(key as i64).or_insert(0);
            *most = tokens.len().max(*most as usize) as i64;
        }
    }
    longest
}

/// A micro-batch that is being filled.
#[derive(Default)]
pub(super) struct Bin {
    /// Indices of the examples, in the order of their tokens.
    pub members: Vec<usize>,
    tokens: usize,
}

impl Bin {
    /// Returns the place of the example at `index` among the members.
    fn place(&self, examples: &[Example], index: usize) -> usize {
        let tokens = input_tokens(&examples[index]);
        self.members
            .partition_point(|&other| input_tokens(&examples[other]) <= tokens)
    }

    /// Returns the tokens that the example at `index` would add. It shares most with a neighbor.
    pub fn added(&self, examples: &[Example], index: usize) -> usize {
        let (tokens, place) = (input_tokens(&examples[index]), self.place(examples, index));
        let neighbors = &self.members[place.saturating_sub(1)..self.members.len().min(place + 1)];
        let shared = |&other: &usize| common(tokens, input_tokens(&examples[other]));
        tokens.len() - neighbors.iter().map(shared).max().unwrap_or(0)
    }

    /// Adds the example at `index`, which adds so many tokens.
    pub fn add(&mut self, examples: &[Example], index: usize, tokens: usize) {
        let place = self.place(examples, index);
        self.members.insert(place, index);
        self.tokens += tokens;
    }
}

/// Packs `members` into micro-batches within `limits`: the longest first, each into the first of
/// those with room for it that share the longest prefix with it. Without shared prefixes this takes
/// at most 11/9 as many micro-batches as the best packing, plus one (Johnson 1973).
pub fn pack(examples: &[Example], members: &[usize], limits: MicroBatchLimits) -> Vec<MicroBatch> {
    let mut sorted = members.to_vec();
    sorted.sort_by_key(|&index| (std::cmp::Reverse(examples[index].positions()), index));
    let mut bins: Vec<Bin> = Vec::new();
    for index in sorted {
        let roomy = bins
            .iter_mut()
            .filter(|bin| bin.members.len() < limits.examples)
            .map(|bin| (bin.added(examples, index), bin))
            .filter(|(added, bin)| bin.tokens + added <= limits.positions)
            .min_by_key(|(added, _)| *added);
        match roomy {
            Some((added, bin)) => bin.add(examples, index, added),
            None => {
                let mut bin = Bin::default();
                bin.add(examples, index, examples[index].positions());
                bins.push(bin);
            }
        }
    }
    bins.iter()
        .map(|bin| MicroBatch::of(examples, &bin.members))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples(lengths: &[usize]) -> Vec<Example> {
        let example = |(n, &length): (usize, &usize)| {
            let ids = (0..length as u32).map(|at| 10 * n as u32 + at).collect();
            Example::with_targets_from(1, format!("line {n}"), ids)
        };
        lengths.iter().enumerate().map(example).collect()
    }

    #[test]
    fn an_epoch_deals_every_example_once_and_differs_from_the_next() {
        let sampler = BatchSampler {
            batch_size: 3,
            order: RowOrder::Shuffled,
            seed: 7,
        };
        let epoch = |number: u64| {
            (0..4)
                .flat_map(|step| sampler.step(number * 4 + step, 10))
                .collect::<Vec<_>>()
        };
        let mut first = epoch(0);
        assert_ne!(first, epoch(1));
        assert_eq!(first, epoch(0));
        first.sort_unstable();
        assert_eq!(first, (0..10).collect::<Vec<_>>());
        let sequential = BatchSampler {
            order: RowOrder::Sequential,
            ..sampler
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
        let members = |micro_batches: &[MicroBatch]| -> Vec<Vec<usize>> {
            micro_batches
                .iter()
                .map(|micro_batch| micro_batch.members.clone())
                .collect()
        };
        // Of 6, 4, 3 and 2 tokens, the last is a target only: 5, 3, 2 and 1 pass through the model.
        let micro_batches = pack(&examples, &[0, 1, 2, 3], all(9, 7));
        assert_eq!(members(&micro_batches), [vec![0, 1], vec![2, 3]]);
        assert_eq!(micro_batches[0].id_t, [0, 1, 10, 11, 12, 13, 14]);
        assert_eq!(nodes(&micro_batches[0]), [(2, None), (5, None)]);
        assert_eq!(micro_batches[0].position_n, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(micro_batches[0].target_n, [1, 2, 11, 12, 13, 14, 15]);
        assert_eq!(nodes(&micro_batches[1]), [(3, None), (1, None)]);
        // An example that fits nowhere gets a micro-batch of its own, and none has more examples
        // than allowed.
        assert_eq!(
            members(&pack(&examples, &[0, 1, 2, 3], all(9, 1))),
            [vec![1], vec![2], vec![0], vec![3]]
        );
        assert_eq!(
            members(&pack(&examples, &[0, 1, 2, 3], all(2, 99))),
            [vec![1, 2], vec![0, 3]]
        );
    }

    fn nodes(micro_batch: &MicroBatch) -> Vec<(i64, Option<usize>)> {
        micro_batch.nodes.iter().map(|of| (of.length, of.after)).collect()
    }

    fn example(ids: &[u32], first_target: usize) -> Example {
        Example::with_targets_from(first_target, String::new(), ids.to_vec())
    }

    #[test]
    fn what_several_begin_with_is_there_once() {
        let examples = [
            example(&[1, 2, 3, 4, 5, 6], 4),
            example(&[1, 2, 3, 7, 8], 3),
            example(&[9, 9, 9], 1),
            // As the first, except for the token that is a target only.
            example(&[1, 2, 3, 4, 5, 0], 4),
            // A prefix of others, as a whole.
            example(&[1, 2, 3, 5], 2),
        ];
        let limits = MicroBatchLimits {
            examples: 9,
            positions: 99,
        };
        let micro_batches = pack(&examples, &[0, 1, 2, 3, 4], limits);
        assert_eq!(micro_batches.len(), 1);
        let micro_batch = &micro_batches[0];
        assert_eq!(micro_batch.members, [4, 0, 3, 1, 2]);
        assert_eq!(micro_batch.id_t, [1, 2, 3, 4, 5, 7, 9, 9]);
        assert_eq!(
            nodes(micro_batch),
            [(3, None), (2, Some(0)), (1, Some(0)), (2, None)]
        );
        assert_eq!(micro_batch.position_n, [1, 2, 3, 4, 3, 4, 2, 5, 6, 7]);
        assert_eq!(micro_batch.target_n, [3, 5, 5, 6, 5, 0, 7, 8, 9, 9]);
        let places = vec![0, 1, 2, 3, 2, 3, 1, 4, 5, 6];
        assert_eq!(micro_batch.wanted(), (vec![1, 2, 3, 4, 5, 6, 7], Some(places)));
        let alone = MicroBatch::of(&examples, &[1]);
        assert_eq!(alone.wanted(), (vec![2, 3], None));
        // Only the tokens that an example adds need room. It goes where it adds fewest.
        let tight = MicroBatchLimits {
            positions: 6,
            ..limits
        };
        let members: Vec<Vec<usize>> = pack(&examples, &[0, 1, 2, 3, 4], tight)
            .into_iter()
            .map(|micro_batch| micro_batch.members)
            .collect();
        assert_eq!(members, [vec![4, 0, 3, 1], vec![2]]);
    }

    #[test]
    fn keys_and_lengths_of_a_step_do_not_depend_on_its_cut() {
        let examples = [
            example(&[1, 2, 3, 4, 5, 6], 4),
            example(&[1, 2, 3, 7, 8], 3),
            example(&[9, 9, 9], 1),
        ];
        let whole = MicroBatch::of(&examples, &[0, 1, 2]);
        assert_eq!(whole.id_t, [1, 2, 3, 4, 5, 7, 9, 9]);
        assert_eq!(whole.lengths(), [5, 5, 5, 5, 5, 4, 2, 2]);
        let keys = whole.keys();
        assert_eq!(keys.iter().collect::<std::collections::HashSet<_>>().len(), 8);
        let alone = MicroBatch::of(&examples, &[1]);
        assert_eq!(alone.keys(), [&keys[..3], &keys[5..6]].concat());
        let longest = longest(&examples, &[0, 1, 2]);
        let of_whole = |micro_batch: &MicroBatch| -> Vec<i64> {
            micro_batch.keys().iter().map(|key| longest[key]).collect()
        };
        assert_eq!(of_whole(&whole), whole.lengths());
        assert_eq!(of_whole(&alone), [5, 5, 5, 4]);
    }

    #[test]
    fn lengths_of_alpaca_fill_their_pieces() {
        // Lengths as in Alpaca's data: most around 80 tokens, a few of several hundred.
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
        let micro_batches = pack(&examples, &(0..512).collect::<Vec<_>>(), limits);
        let tokens: usize = micro_batches
            .iter()
            .map(|micro_batch| micro_batch.id_t.len())
            .sum();
        assert_eq!(tokens, lengths.iter().map(|length| length - 1).sum::<usize>());
        // The last one takes the rest.
        let full = &micro_batches[..micro_batches.len() - 1];
        let fill = full
            .iter()
            .map(|micro_batch| micro_batch.id_t.len())
            .sum::<usize>() as f64
            / (2048 * full.len()) as f64;
        assert!(fill >= 0.97, "{fill}");
    }
}
