//! Counts the tokens that each text shares with a query, by an inverted index of all tokens.
//!
//! Most of what is counted are a few frequent tokens. Texts that have one of them are the set bits
//! of a bitmap, and the bitmaps of a query are added column by column, each binary digit of the 64
//! sums of a column being a word ("bit-sliced", O'Neil and Quass 1997). So a frequent token costs
//! some instructions for 64 texts, not for each that has it.

use crate::filter::lcs::LcsPattern;
use std::ops::Range;

/// For each token, the texts that have it.
///
/// Unlike the lists of rare words, these are complete, and cost four bytes per word at most. They
/// are filled only when the nearest texts are asked for.
#[derive(Debug, Default)]
pub struct Overlaps {
    lists: Vec<Having>,
    texts: usize,
}

/// The texts that have a token.
#[derive(Debug)]
enum Having {
    /// Their positions, ascending.
    Few(Vec<u32>),
    /// A bit for each text up to the last that has it.
    Many(Vec<u64>),
}

impl Default for Having {
    fn default() -> Having {
        Having::Few(Vec::new())
    }
}

/// A list that is as long as this, and has one of so many texts, becomes a bitmap: it takes less
/// memory then.
const LONG: usize = if cfg!(test) { 2 } else { 128 };
const ONE_OF: usize = 32;

/// The saturated count: this many or more.
pub const MANY: u8 = u8::MAX;

/// Binary digits of a sum, and the most bitmaps that are added at once.
const DIGITS: usize = 4;
const AT_ONCE: usize = (1 << DIGITS) - 1;
/// Columns of 64 texts that are added at once: their digits stay in the nearest cache.
const COLUMNS: usize = if cfg!(test) { 2 } else { 256 };

/// Eight bits as eight bytes, the lowest first.
const SPREAD: [u64; 256] = {
    let mut spread = [0; 256];
    let mut bits = 0;
    while bits < 256 {
        let mut place = 0;
        while place < 8 {
            spread[bits] |= ((bits as u64 >> place) & 1) << (8 * place);
            place += 1;
        }
        bits += 1;
    }
    spread
};

impl Having {
    fn push(&mut self, position: u32) {
        match self {
            Having::Few(positions) => {
                positions.push(position);
                if positions.len() >= LONG && positions.len() * ONE_OF > position as usize {
                    let mut bits = Vec::new();
                    positions.iter().for_each(|&position| set(&mut bits, position));
                    *self = Having::Many(bits);
                }
            }
            Having::Many(bits) => set(bits, position),
        }
    }
}

/// Sets the bit at a position, which is behind all others.
fn set(bits: &mut Vec<u64>, position: u32) {
    let column = position as usize / 64;
    if bits.len() <= column {
        bits.resize(column + 1, 0);
    }
    bits[column] |= 1 << (position % 64);
}

impl Overlaps {
    /// Appends a text. Its tokens are known and distinct.
    pub fn push(&mut self, tokens: &[u32]) {
        let position = self.texts as u32;
        for &token in tokens {
            let token = token as usize;
            if token >= self.lists.len() {
                self.lists.resize_with(token + 1, Having::default);
            }
            self.lists[token].push(position);
        }
        self.texts += 1;
    }

    /// Writes into `counts` how many of `tokens` each of the first `within` texts has, up to
    /// [`MANY`].
    pub fn count(&self, tokens: &[u32], within: usize, counts: &mut Vec<u8>) {
        counts.clear();
        counts.resize(within.next_multiple_of(64), 0);
        let known = tokens.iter().filter(|&&token| token != LcsPattern::UNKNOWN);
        let lists = known.filter_map(|&token| self.lists.get(token as usize));
        let (mut bitmaps, mut few) = (Vec::new(), Vec::new());
        for list in lists {
            match list {
                Having::Few(positions) => few.push(positions.as_slice()),
                Having::Many(bits) => bitmaps.push(bits.as_slice()),
            }
        }
        for some in bitmaps.chunks(AT_ONCE) {
            add_bitmaps(some, counts);
        }
        counts.truncate(within);
        for positions in few {
            let end = positions.partition_point(|&position| (position as usize) < within);
            for &position in &positions[..end] {
                let count = &mut counts[position as usize];
                *count = count.saturating_add(1);
            }
        }
    }

    /// The positions of the texts that are not counted yet, of `texts` in all.
    pub fn missing(&self, texts: usize) -> Range<usize> {
        self.texts..texts
    }
}

/// Adds to the count of each text how many of up to [`AT_ONCE`] bitmaps have its bit. The counts
/// are those of whole columns.
fn add_bitmaps(bitmaps: &[&[u64]], counts: &mut [u8]) {
    let mut digits = [[0_u64; COLUMNS]; DIGITS];
    for (first, counts) in (0..).step_by(COLUMNS).zip(counts.chunks_mut(64 * COLUMNS)) {
        let columns = counts.len() / 64;
        digits.iter_mut().for_each(|digit| digit.fill(0));
        for bits in bitmaps {
            let bits = bits.get(first..).unwrap_or_default();
            let [ones, twos, fours, eights] = &mut digits;
            let digits = ones.iter_mut().zip(twos).zip(fours).zip(eights);
            for ((((one, two), four), eight), &bits) in digits.zip(&bits[..bits.len().min(columns)]) {
                let carried = *one & bits;
                *one ^= bits;
                let again = *two & carried;
                *two ^= carried;
                let carried = *four & again;
                *four ^= again;
                *eight |= carried;
            }
        }
        for (column, counts) in counts.chunks_exact_mut(64).enumerate() {
            let digits = [0, 1, 2, 3].map(|digit| digits[digit][column].to_le_bytes());
            for (byte, counts) in counts.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let [one, two, four, eight] = digits.map(|digit| SPREAD[digit[byte] as usize]);
                let sums = (one | two << 1 | four << 2 | eight << 3).to_le_bytes();
                for (count, sum) in counts.iter_mut().zip(sums) {
                    *count = count.saturating_add(sum);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Lists and bitmaps, more of these than are added at once, and texts behind `within`.
        #[test]
        fn counts_are_those_of_sets(
            texts in prop::collection::vec(prop::collection::btree_set(0..40_u32, 0..30), 0..400),
            query in prop::collection::btree_set(0..45_u32, 0..40),
            within in 0..400_usize,
        ) {
            let mut overlaps = Overlaps::default();
            for text in &texts {
                overlaps.push(&text.iter().copied().collect::<Vec<_>>());
            }
            let within = within.min(texts.len());
            let tokens: Vec<u32> = query.iter().copied().chain([LcsPattern::UNKNOWN]).collect();
            let mut counts = vec![7; 3];
            overlaps.count(&tokens, within, &mut counts);
            let wanted: Vec<u8> = texts[..within]
                .iter()
                .map(|text| text.intersection(&query).count() as u8)
                .collect();
            prop_assert_eq!(counts, wanted);
        }
    }

    #[test]
    fn counts_saturate() {
        let mut overlaps = Overlaps::default();
        let tokens: Vec<u32> = (0..300).collect();
        overlaps.push(&tokens);
        overlaps.push(&tokens[..254]);
        overlaps.push(&tokens);
        let mut counts = Vec::new();
        overlaps.count(&tokens, 3, &mut counts);
        assert_eq!(counts, [MANY, 254, MANY]);
    }
}
