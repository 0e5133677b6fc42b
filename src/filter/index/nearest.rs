//! Finds the most similar texts, also below the threshold.
//!
//! There, rare words exclude nothing. So the words shared with every text are counted
//! ([`Overlaps`]), which bounds ROUGE-L from above. Texts that share most are compared first, in
//! the order of their bounds, until no text that shares fewer words can be among the best.
//!
//! [`Overlaps`]: super::overlap::Overlaps

use super::overlap::MANY;
use super::{Index, RougeL, SimilarText};
use crate::filter::lcs::LcsPattern;
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;

/// Bounds are multiples of 1 / STEPS.
const STEPS: u32 = 254;
/// Texts among which those that share enough words are looked for at once.
const BLOCK: usize = 64;
/// Texts that are compared first, for each that is wanted.
const FIRST: usize = 8;

/// Buffers that searches of one thread reuse.
#[derive(Default)]
struct NearestScratch {
    pattern: LcsPattern,
    /// By text, the words that it shares with the query.
    shared: Vec<u8>,
    /// The texts that are to be compared.
    candidates: Candidates,
}

/// Texts with the bounds of their similarity.
#[derive(Default)]
struct Candidates {
    found: Vec<(u8, u32)>,
    /// The same, best first, earlier first among equals.
    ordered: Vec<(u8, u32)>,
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
                candidates,
            } = scratch;
            pattern.set(words);
            let length = words.len() as u32;
            let mut best = TopMatches {
                count,
                found: Vec::with_capacity(count + 1),
            };
            self.overlaps.count(&tokens, within, shared);
            // Those that share as many words as this, then all others that may be among the best.
            let mut from = shared_by(shared, FIRST * count);
            let mut done = u32::from(MANY) + 1;
            loop {
                candidates.find(shared, from..done, |position| {
                    let other = self.entries[position].length;
                    let shared = most_shared(shared[position], length, other);
                    best.may_have(shared, length + other)
                        .then(|| bound(shared, length + other))
                });
                for &(bound, position) in &candidates.ordered {
                    if best.is_out_of_reach(bound) {
                        break;
                    }
                    let position = position as usize;
                    let entry = self.entries[position];
                    let total = length + entry.length;
                    let least = best.least_lcs(total, position);
                    // The bound was rounded up. The exact one skips most texts where many have the
                    // same bound.
                    if most_shared(shared[position], length, entry.length) < least {
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
                done = from;
                from = best.least_shared(length);
                if from >= done {
                    return best.found;
                }
            }
        })
    }
}

impl Candidates {
    /// Finds the texts that share so many words and have a bound, and orders them by it.
    fn find(&mut self, shared: &[u8], wanted: Range<u32>, bound: impl Fn(usize) -> Option<u8>) {
        self.found.clear();
        let mut counts = [0; 256];
        for (block, some) in (0..).step_by(BLOCK).zip(shared.chunks(BLOCK)) {
            let most = some.iter().fold(0, |most, &count| count.max(most));
            if u32::from(most) < wanted.start {
                continue;
            }
            for (position, &count) in (block..).zip(some) {
                if wanted.contains(&u32::from(count))
                    && let Some(bound) = bound(position)
                {
                    counts[bound as usize] += 1;
                    self.found.push((bound, position as u32));
                }
            }
        }
        let mut places = [0; 256];
        let mut place = 0;
        for bound in (0..256).rev() {
            places[bound] = place;
            place += counts[bound];
        }
        self.ordered.clear();
        self.ordered.resize(self.found.len(), (0, 0));
        for &(bound, position) in &self.found {
            let place = &mut places[bound as usize];
            self.ordered[*place] = (bound, position);
            *place += 1;
        }
    }
}

/// The most words that so many texts, at least, share with a query each; at least one.
fn shared_by(shared: &[u8], texts: usize) -> u32 {
    // Neighbors have the same counts, and adding to the same number twice waits for the first.
    let mut counts = [[0_usize; 256]; 4];
    for some in shared.chunks(4) {
        for (counts, &count) in counts.iter_mut().zip(some) {
            counts[count as usize] += 1;
        }
    }
    let mut found = 0;
    (1..256)
        .rev()
        .find(|&count| {
            found += counts.iter().map(|counts| counts[count]).sum::<usize>();
            found >= texts
        })
        .map_or(1, |count| count as u32)
}

/// The smallest b for which the score of two texts is surely below b / [`STEPS`].
fn bound(shared: u32, total: u32) -> u8 {
    (1 + 2 * u64::from(shared) * u64::from(STEPS) / u64::from(total)) as u8
}

/// The most words that two texts of lengths `a` and `b` can share, given the saturating count.
#[inline(always)]
fn most_shared(counted: u8, a: u32, b: u32) -> u32 {
    match counted {
        MANY => a.min(b),
        counted => u32::from(counted),
    }
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

    /// Whether a text that shares so many words can be among the best; `total` is its number of
    /// words plus that of the query.
    fn may_have(&self, shared: u32, total: u32) -> bool {
        self.worst()
            .is_none_or(|worst| RougeL { lcs: shared, total } >= worst.score)
    }

    /// The fewest words that a text shares which can be among the best, with a query of `length`
    /// words.
    fn least_shared(&self, length: u32) -> u32 {
        let Some(worst) = self.worst() else { return 1 };
        // A text has at least the words that it shares.
        let highest = |shared: u32| RougeL {
            lcs: shared.min(length),
            total: length + shared,
        };
        (1..u32::from(MANY))
            .find(|&shared| highest(shared) >= worst.score)
            .unwrap_or(u32::from(MANY))
    }

    fn add(&mut self, neighbor: SimilarText) {
        let at = self.found.partition_point(|kept| kept.precedes(&neighbor));
        self.found.insert(at, neighbor);
        self.found.truncate(self.count);
    }
}
