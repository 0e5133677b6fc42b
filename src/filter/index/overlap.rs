//! Counts the tokens that each text shares with a query, by an inverted index of all tokens.

use crate::filter::lcs::LcsPattern;
use std::ops::Range;

/// For each token, the texts that have it.
///
/// Unlike the lists of rare words, these are complete, and cost four bytes per word. They are
/// filled only when the nearest texts are asked for.
#[derive(Debug, Default)]
pub struct Overlaps {
    /// Positions of texts in ascending order, by token.
    lists: Vec<Vec<u32>>,
    texts: usize,
}

/// The saturated count: this many or more.
pub const MANY: u8 = u8::MAX;

impl Overlaps {
    /// Appends a text. Its tokens are known and distinct.
    pub fn push(&mut self, tokens: &[u32]) {
        let position = self.texts as u32;
        for &token in tokens {
            let token = token as usize;
            if token >= self.lists.len() {
                self.lists.resize(token + 1, Vec::new());
            }
            self.lists[token].push(position);
        }
        self.texts += 1;
    }

    /// Writes into `counts` how many of `tokens` each of the first `within` texts has, up to
    /// [`MANY`].
    pub fn count(&self, tokens: &[u32], within: usize, counts: &mut Vec<u8>) {
        counts.clear();
        counts.resize(within, 0);
        for list in tokens.iter().filter_map(|&token| self.list(token)) {
            let end = list.partition_point(|&position| (position as usize) < within);
            for &position in &list[..end] {
                let count = &mut counts[position as usize];
                *count = count.saturating_add(1);
            }
        }
    }

    fn list(&self, token: u32) -> Option<&[u32]> {
        (token != LcsPattern::UNKNOWN)
            .then(|| self.lists.get(token as usize))
            .flatten()
            .map(Vec::as_slice)
    }

    /// The positions of the texts that are not counted yet, of `texts` in all.
    pub fn missing(&self, texts: usize) -> Range<usize> {
        self.texts..texts
    }
}
