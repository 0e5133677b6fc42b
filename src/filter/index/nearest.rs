//! The most similar texts, however similar they are.
//!
//! Below the threshold rare words promise nothing, so all texts are looked at; but only their [`Signature`]s, which
//! bound the overlap and so ROUGE-L. Texts are then compared in the order of their bounds, best first, until no bound
//! is left that could change the answer: the fewest comparisons that these bounds allow.

use super::{Entry, Index, Neighbor, Score, Signature};
use crate::filter::lcs::Pattern;
use crate::filter::vocabulary::known;
use rayon::prelude::*;
use std::cell::RefCell;

/// The finest step of a bound: scores are bounded by whole multiples of 1 / STEPS.
const STEPS: u32 = 254;
/// Texts that are taken up together at first; twice as many each time that these were not enough.
const PORTION: usize = 128;

thread_local! {
    static SCRATCH: RefCell<(Pattern, Vec<u8>)> = RefCell::default();
}

impl Index {
    /// The `count` texts most similar to `text` among the first `within`, best first, earlier first among equals.
    /// Texts that have no word in common are left out.
    pub fn nearest(&self, text: &str, within: usize, count: usize) -> Vec<Neighbor> {
        let encoded = self.vocabulary.look_up(text);
        self.nearest_to(&encoded.words, within, count)
    }

    /// For each text of `positions`, in parallel, the `count` most similar of those that were admitted before it.
    pub fn nearest_before(&self, positions: &[usize], count: usize) -> Vec<Vec<Neighbor>> {
        positions
            .par_iter()
            .map(|&position| self.nearest_to(self.words_of(self.entries[position]), position, count))
            .collect()
    }

    fn nearest_to(&self, words: &[u32], within: usize, count: usize) -> Vec<Neighbor> {
        let within = within.min(self.len());
        if words.is_empty() || within == 0 || count == 0 {
            return Vec::new();
        }
        let mut tokens = Vec::with_capacity(words.len());
        self.vocabulary.tokens(words, &mut tokens);
        SCRATCH.with_borrow_mut(|(pattern, bounds)| {
            pattern.set(words);
            let mut best = Best {
                count,
                found: Vec::with_capacity(count + 1),
            };
            let query = Bounds::new(&tokens);
            let bounded = query.of_all(&self.entries[..within], bounds);
            let (mut above, mut size) = (u8::MAX as usize + 1, PORTION);
            while let Some(portion) = next_portion(&bounded, &mut above, bounds, size) {
                size *= 2;
                for (bound, position) in portion {
                    if best.is_out_of_reach(bound) {
                        return best.found;
                    }
                    let entry = self.entries[position as usize];
                    let total = words.len() as u32 + entry.length;
                    let least = best.least_lcs(total, position as usize);
                    // The bound was rounded up; where many texts are equally far away, the exact one spares most.
                    if query.shared(&entry) < least {
                        continue;
                    }
                    let Some(lcs) = pattern.lcs(self.words_of(entry), least) else {
                        continue;
                    };
                    best.add(Neighbor {
                        position: position as usize,
                        score: Score { lcs, total },
                    });
                }
            }
            best.found
        })
    }
}

/// What bounds the score of a query with a text.
struct Bounds {
    signature: Signature,
    /// Words of the query.
    length: u32,
    /// How many of its tokens some text has.
    known: u32,
}

impl Bounds {
    fn new(tokens: &[u32]) -> Bounds {
        Bounds {
            signature: Signature::new(tokens),
            length: tokens.len() as u32,
            known: known(tokens),
        }
    }

    /// How many words, at most, a text shares with the query.
    #[inline(always)]
    fn shared(&self, entry: &Entry) -> u32 {
        let different = self.signature.difference(entry.signature);
        let shared = (self.known + entry.length).saturating_sub(different) / 2;
        shared.min(self.known).min(entry.length)
    }

    /// Bounds the score with every text: 0 where no word is in common, else b where the score is below b / [`STEPS`].
    /// Returns how many texts have each bound.
    fn of_all(&self, entries: &[Entry], bounds: &mut Vec<u8>) -> [usize; 256] {
        bounds.clear();
        bounds.extend(entries.iter().map(|entry| match self.shared(entry) {
            0 => 0,
            shared => {
                let total = u64::from(self.length + entry.length);
                (1 + u64::from(2 * shared) * u64::from(STEPS) / total) as u8
            }
        }));
        let mut bounded = [0; 256];
        for &bound in &*bounds {
            bounded[bound as usize] += 1;
        }
        bounded
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
