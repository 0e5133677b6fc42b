//! Finds the most similar texts, also below the threshold.
//!
//! There, rare words exclude nothing. So the words shared with every text are counted
//! ([`Overlaps`]), which bounds ROUGE-L from above. Texts are compared in the order of their
//! bounds, best first, until no remaining bound can change the result: the fewest comparisons that
//! these bounds allow.
//!
//! [`Overlaps`]: super::overlap::Overlaps

use super::overlap::MANY;
use super::{Index, RougeL, SimilarText};
use crate::filter::lcs::LcsPattern;
use rayon::prelude::*;
use std::cell::RefCell;

/// Bounds are multiples of 1 / STEPS.
const STEPS: u32 = 254;
/// Texts compared in the first round, before looking whether more are needed; each further round
/// takes twice as many.
const PORTION: usize = 128;

/// Buffers that searches of one thread reuse.
#[derive(Default)]
struct NearestScratch {
    pattern: LcsPattern,
    shared: Vec<u8>,
    bounds: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<NearestScratch> = RefCell::default();
}

impl Index {
    /// For each query, a text and a number `within`: the `count` most similar of the first `within`
    /// texts, best first, earlier first among equals. Texts without a common word are left out.
    /// Queries run in parallel.
    pub fn nearest(&mut self, queries: &[(&str, usize)], count: usize) -> Vec<Vec<SimilarText>> {
        self.count_overlaps();
        let index = &*self;
        let search = |&(text, within): &(&str, usize)| {
            let encoded = index.vocabulary.look_up(text);
            index.nearest_to(&encoded.words, within, count)
        };
        queries.par_iter().map(search).collect()
    }

    /// For each text of `positions`, the `count` most similar of the texts before it.
    pub fn nearest_before(&mut self, positions: &[usize], count: usize) -> Vec<Vec<SimilarText>> {
        self.count_overlaps();
        let index = &*self;
        let search = |&position: &usize| {
            let words = index.words_of(index.entries[position]);
            index.nearest_to(words, position, count)
        };
        positions.par_iter().map(search).collect()
    }

    /// Adds the texts inserted since the last call to the counts of shared words.
    fn count_overlaps(&mut self) {
        let mut tokens = Vec::new();
        for position in self.overlaps.missing(self.entries.len()) {
            let words = super::words_of(self.entries[position], &self.words);
            self.vocabulary.tokens(words, &mut tokens);
            self.overlaps.push(&tokens);
        }
    }

    fn nearest_to(&self, words: &[u32], within: usize, count: usize) -> Vec<SimilarText> {
        let within = within.min(self.len());
        if words.is_empty() || within == 0 || count == 0 {
            return Vec::new();
        }
        let mut tokens = Vec::with_capacity(words.len());
        self.vocabulary.tokens(words, &mut tokens);
        SCRATCH.with_borrow_mut(|scratch| {
            let NearestScratch {
                pattern,
                shared,
                bounds,
            } = scratch;
            pattern.set(words);
            let mut best = TopMatches {
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
                    // The bound was rounded up. The exact one skips most texts where many have the
                    // same bound.
                    if most_shared(shared[position], words.len() as u32, entry.length) < least {
                        continue;
                    }
                    let Some(lcs) = pattern.lcs(self.words_of(entry), least) else {
                        continue;
                    };
                    best.add(SimilarText {
                        position,
                        score: RougeL { lcs, total },
                    });
                }
            }
            best.found
        })
    }

    /// Writes a bound for each text into `bounds`, for a query of `length` words: 0 if they share
    /// no word, else the smallest b for which the score is surely below b / [`STEPS`]. Returns the
    /// number of texts with each bound.
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

/// The most words that two texts of lengths `a` and `b` can share, given the saturating count.
#[inline(always)]
fn most_shared(counted: u8, a: u32, b: u32) -> u32 {
    match counted {
        MANY => a.min(b),
        counted => u32::from(counted),
    }
}

/// The next texts by bound: those with the highest bounds below `above`, at least `size` of them if
/// there are as many. Returns bounds and positions, best first, and lowers `above`.
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

/// The `count` best texts so far, best first.
struct TopMatches {
    count: usize,
    found: Vec<SimilarText>,
}

impl TopMatches {
    /// The last of the best texts, once there are `count`.
    fn worst(&self) -> Option<&SimilarText> {
        (self.found.len() == self.count).then(|| &self.found[self.count - 1])
    }

    /// Whether no text with this bound or a lower one can be among the best any more.
    fn is_out_of_reach(&self, bound: u8) -> bool {
        self.worst().is_some_and(|worst| {
            let RougeL { lcs, total } = worst.score;
            2 * u64::from(lcs) * u64::from(STEPS) >= u64::from(bound) * u64::from(total)
        })
    }

    /// The smallest LCS with which the text at `position` is among the best; `total` is its number
    /// of words plus that of the query.
    fn least_lcs(&self, total: u32, position: usize) -> u32 {
        self.worst().map_or(1, |worst| {
            let least = worst.score.least_lcs(total);
            // Among equals, the earlier text stays.
            let is_tie = RougeL { lcs: least, total } == worst.score && position > worst.position;
            least + u32::from(is_tie)
        })
    }

    fn add(&mut self, neighbor: SimilarText) {
        let at = self.found.partition_point(|kept| kept.precedes(&neighbor));
        self.found.insert(at, neighbor);
        self.found.truncate(self.count);
    }
}
