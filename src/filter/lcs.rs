//! The longest common subsequence (LCS) of one text with many others, bit-parallel.

use std::collections::HashMap;

/// Slots in the hash table of a short pattern: twice its maximum number of words, so that probing
/// is short.
const SLOTS: usize = 128;
/// Words of a short pattern, at most: one bit each in a machine word.
const SHORT: usize = 64;
/// Words between two checks whether the LCS can still become long enough.
const STRIDE: usize = 8;

/// A text prepared for comparison with many others: the positions of each of its words, as bits.
///
/// The recurrence is Hyyrö's (2004, "Bit-parallel LCS-length computation revisited"):
/// V ← (V + (V ∧ M)) ∨ (V ∧ ¬M), 64 words of the pattern per step. The zeros of V count the LCS so
/// far. Words are numbers, and equal numbers are the same word. Only [`LcsPattern::UNKNOWN`] equals
/// nothing, not even itself.
pub struct LcsPattern {
    length: usize,
    /// The words of a pattern of at most 64 words, by open addressing.
    keys: [u32; SLOTS],
    masks: [u64; SLOTS],
    /// A longer pattern: blocks of 64 words, and a row of masks for each distinct word.
    long: Option<Long>,
}

struct Long {
    blocks: usize,
    rows: HashMap<u32, usize, foldhash::fast::RandomState>,
    masks: Vec<u64>,
    v: Vec<u64>,
}

impl Default for LcsPattern {
    fn default() -> Self {
        LcsPattern {
            length: 0,
            keys: [LcsPattern::UNKNOWN; SLOTS],
            masks: [0; SLOTS],
            long: None,
        }
    }
}

impl LcsPattern {
    /// A word that no other text has. Texts that a pattern is compared with must not contain it.
    pub const UNKNOWN: u32 = u32::MAX;

    /// Prepares `text`, in place of the text before.
    pub fn set(&mut self, text: &[u32]) {
        self.length = text.len();
        if text.len() > SHORT {
            self.long = Some(Long::new(text));
            return;
        }
        self.long = None;
        self.keys = [LcsPattern::UNKNOWN; SLOTS];
        for (i, &word) in text
            .iter()
            .enumerate()
            .filter(|(_, word)| **word != LcsPattern::UNKNOWN)
        {
            let slot = self.slot(word);
            if self.keys[slot] != word {
                self.keys[slot] = word;
                self.masks[slot] = 0;
            }
            self.masks[slot] |= 1 << i;
        }
    }

    /// The slot of `word`, or the free slot where it would go.
    #[inline(always)]
    fn slot(&self, word: u32) -> usize {
        let mut slot = (word.wrapping_mul(0x9E37_79B1) >> 25) as usize;
        while self.keys[slot] != word && self.keys[slot] != LcsPattern::UNKNOWN {
            slot = (slot + 1) % SLOTS;
        }
        slot
    }

    /// The length of the longest common subsequence with `text`; `None` if it is below `least`.
    #[inline]
    pub fn lcs(&mut self, text: &[u32], least: u32) -> Option<u32> {
        if let Some(long) = &mut self.long {
            return Some(long.lcs(text)).filter(|&lcs| lcs >= least);
        }
        if self.length.min(text.len()) < least as usize {
            return None;
        }
        let mut v = u64::MAX;
        let mut left = text.len() as u32;
        for words in text.chunks(STRIDE) {
            for &word in words {
                let slot = self.slot(word);
                // The mask of a free slot belongs to an earlier pattern.
                let mask = if self.keys[slot] == word {
                    self.masks[slot]
                } else {
                    0
                };
                let u = v & mask;
                v = v.wrapping_add(u) | (v & !mask);
            }
            // Each remaining word makes the LCS longer by one at most.
            left -= words.len() as u32;
            if v.count_zeros() + left < least {
                return None;
            }
        }
        Some(v.count_zeros())
    }
}

impl Long {
    fn new(text: &[u32]) -> Long {
        let blocks = text.len().div_ceil(64);
        let mut rows = HashMap::default();
        let mut masks = Vec::new();
        for (i, &word) in text
            .iter()
            .enumerate()
            .filter(|(_, word)| **word != LcsPattern::UNKNOWN)
        {
            let row = *rows.entry(word).or_insert_with(|| {
                masks.resize(masks.len() + blocks, 0u64);
                masks.len() / blocks - 1
            });
            masks[row * blocks + i / 64] |= 1 << (i % 64);
        }
        Long {
            blocks,
            rows,
            masks,
            v: Vec::new(),
        }
    }

    fn lcs(&mut self, text: &[u32]) -> u32 {
        self.v.clear();
        self.v.resize(self.blocks, u64::MAX);
        for word in text {
            let Some(row) = self.rows.get(word) else {
                continue;
            };
            let masks = &self.masks[row * self.blocks..(row + 1) * self.blocks];
            let mut carry = false;
            for (v, &mask) in self.v.iter_mut().zip(masks) {
                let u = *v & mask;
                let (sum, first) = v.overflowing_add(u);
                let (sum, second) = sum.overflowing_add(u64::from(carry));
                carry = first || second;
                *v = sum | (*v & !mask);
            }
        }
        self.v.iter().map(|v| v.count_zeros()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The textbook algorithm, by a table.
    fn table(a: &[u32], b: &[u32]) -> u32 {
        let mut table = vec![vec![0u32; b.len() + 1]; a.len() + 1];
        for i in 0..a.len() {
            for j in 0..b.len() {
                table[i + 1][j + 1] = if a[i] == b[j] {
                    table[i][j] + 1
                } else {
                    table[i][j + 1].max(table[i + 1][j])
                };
            }
        }
        table[a.len()][b.len()]
    }

    #[test]
    fn unknown_words_match_nothing() {
        let mut pattern = LcsPattern::default();
        pattern.set(&[LcsPattern::UNKNOWN, 1, LcsPattern::UNKNOWN]);
        assert_eq!(pattern.lcs(&[0, 1, 2], 0), Some(1));
    }

    proptest! {
        #[test]
        fn bits_agree_with_the_table(
            a in prop::collection::vec(0u32..12, 0..200),
            b in prop::collection::vec(0u32..12, 0..200),
            least in 0u32..200,
        ) {
            let mut pattern = LcsPattern::default();
            pattern.set(&b);
            pattern.set(&a);
            let lcs = table(&a, &b);
            prop_assert_eq!(pattern.lcs(&b, least), Some(lcs).filter(|&lcs| lcs >= least));
            prop_assert_eq!(pattern.lcs(&b, lcs), Some(lcs));
            prop_assert_eq!(pattern.lcs(&b, lcs + 1), None);
        }
    }
}
