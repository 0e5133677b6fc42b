//! The most similar texts, however similar they are.
//!
//! Below the threshold rare words promise nothing, so every text that shares a word is looked at; but only the number of
//! words it shares, which bounds ROUGE-L ([`Overlaps`]). Texts are then compared in the order of their bounds, best
//! first, until no bound is left that could change the answer: the fewest comparisons that these bounds allow.

use super::overlap::MANY;
use super::{Index, Neighbor, Score};
use crate::filter::lcs::Pattern;
use rayon::prelude::*;
use std::cell::RefCell;

/// The finest step of a bound: scores are bounded by whole multiples of 1 / STEPS.
const STEPS: u32 = 254;
/// Texts that are taken up together at first; twice as many each time that these were not enough.
const PORTION: usize = 128;

#[derive(Default)]
struct Scratch {
    pattern: Pattern,
    shared: Vec<u8>,
    bounds: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Index {
    /// For each query, a text and how many texts are looked at, the `count` most similar of the first so many; best
    /// first, earlier first among equals. Texts that have no word in common are left out. Queries run in parallel.
    pub fn nearest(&mut self, queries: &[(&str, usize)], count: usize) -> Vec<Vec<Neighbor>> {
        self.count_overlaps();
        let index = &*self;
        let search = |&(text, within): &(&str, usize)| {
            let encoded = index.vocabulary.look_up(text);
            index.nearest_to(&encoded.words, within, count)
        };
        queries.par_iter().map(search).collect()
    }

    /// For each text of `positions`, the `count` most similar of those that were admitted before it.
    pub fn nearest_before(&mut self, positions: &[usize], count: usize) -> Vec<Vec<Neighbor>> {
        self.count_overlaps();
        let index = &*self;
        let search = |&position: &usize| {
            let words = index.words_of(index.entries[position]);
            index.nearest_to(words, position, count)
        };
        positions.par_iter().map(search).collect()
    }

    /// Makes the texts that came in since be found.
    fn count_overlaps(&mut self) {
        let mut tokens = Vec::new();
        for position in self.overlaps.missing(self.entries.len()) {
            let words = super::words_of(self.entries[position], &self.words);
            self.vocabulary.tokens(words, &mut tokens);
            self.overlaps.push(&tokens);
        }
    }

    fn nearest_to(&self, words: &[u32], within: usize, count: usize) -> Vec<Neighbor> {
        let within = within.min(self.len());
        if words.is_empty() || within == 0 || count == 0 {
            return Vec::new();
        }
        let mut tokens = Vec::with_capacity(words.len());
        self.vocabulary.tokens(words, &mut tokens);
        SCRATCH.with_borrow_mut(|scratch| {
            let Scratch {
                pattern,
                shared,
                bounds,
            } = scratch;
            pattern.set(words);
            let mut best = Best {
                count,
                found: Vec::with_capacity(count + 1),
            };
            self.overlaps.count(&tokens, within, shared);
            let bounded = self.bound(words.len() as u32, shared, bounds);
            let (mut above, mut size) = (u8::MAX as usize + 1, PORTION);
            while let Some(portion) = next_portion(&bounded, &mut above, bounds, size) {
                size *= 2;
                for (bound, position) in portion {
                    if best.is_out_of_reach(bound) {
                        return best.found;
                    }
                    let position = position as usize;
                    let entry = self.entries[position];
                    let total = words.len() as u32 + entry.length;
                    let least = best.least_lcs(total, position);
                    // The bound was rounded up; where many texts are equally far away, the exact one spares most.
                    if most_shared(shared[position], words.len() as u32, entry.length) < least {
                        continue;
                    }
                    let Some(lcs) = pattern.lcs(self.words_of(entry), least) else {
                        continue;
                    };
                    best.add(Neighbor {
                        position,
                        score: Score { lcs, total },
                    });
                }
            }
            best.found
        })
    }

    /// Bounds the score of a query of so many words with every text: 0 where no word is in common, else b where the
    /// score is below b / [`STEPS`]. Returns how many texts have each bound.
    fn bound(&self, length: u32, shared: &[u8], bounds: &mut Vec<u8>) -> [usize; 256] {
        bounds.clear();
        bounds.extend(
            shared
                .iter()
                .zip(&self.entries)
                .map(|(&shared, entry)| match shared {
                    0 => 0,
                    shared => {
                        let shared = u64::from(most_shared(shared, length, entry.length));
                        let total = u64::from(length + entry.length);
                        (1 + 2 * shared * u64::from(STEPS) / total) as u8
                    }
                }),
        );
        let mut bounded = [0; 256];
        for &bound in &*bounds {
            bounded[bound as usize] += 1;
        }
        bounded
    }
}

/// How many words two texts of these lengths share, at most, by what was counted.
#[inline(always)]
fn most_shared(counted: u8, a: u32, b: u32) -> u32 {
    match counted {
        MANY => a.min(b),
        counted => u32::from(counted),
    }
}

/// The texts of the highest bounds below `above`, at least `size` where there are as many; bounds and positions, best
/// first. Lowers `above`.
fn next_portion(
    bounded: &[usize; 256],
    above: &mut usize,
    bounds: &[u8],
    size: usize,
) -> Option<impl Iterator<Item = (u8, u32)> + use<>> {
    let (mut lowest, mut count) = (*above, 0);
    while lowest > 1 && count < size {
        lowest -= 1;
        count += bounded[lowest];
    }
    if count == 0 {
        return None;
    }
    let wanted = lowest as u8..=(*above - 1) as u8;
    let mut portion: Vec<(u8, u32)> = (0..)
        .zip(bounds)
        .filter(|(_, bound)| wanted.contains(bound))
        .map(|(position, &bound)| (bound, position))
        .collect();
    portion.sort_by_key(|&(bound, position)| (std::cmp::Reverse(bound), position));
    *above = lowest;
    Some(portion.into_iter())
}

/// The best so far, best first.
struct Best {
    count: usize,
    found: Vec<Neighbor>,
}

impl Best {
    /// The last of them, once there are enough.
    fn worst(&self) -> Option<&Neighbor> {
        (self.found.len() == self.count).then(|| &self.found[self.count - 1])
    }

    /// Whether no text with this bound or a lower one can be among the best.
    fn is_out_of_reach(&self, bound: u8) -> bool {
        self.worst().is_some_and(|worst| {
            let Score { lcs, total } = worst.score;
            2 * u64::from(lcs) * u64::from(STEPS) >= u64::from(bound) * u64::from(total)
        })
    }

    /// The least LCS that the text at `position` needs, of so many words with those of the query.
    fn least_lcs(&self, total: u32, position: usize) -> u32 {
        self.worst().map_or(1, |worst| {
            let least = worst.score.least_lcs(total);
            // Of equals the earlier stays.
            let is_tie = Score { lcs: least, total } == worst.score && position > worst.position;
            least + u32::from(is_tie)
        })
    }

    fn add(&mut self, neighbor: Neighbor) {
        let at = self.found.partition_point(|kept| kept.precedes(&neighbor));
        self.found.insert(at, neighbor);
        self.found.truncate(self.count);
    }
}
