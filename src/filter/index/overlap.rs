//! How many tokens each text shares with one, counted along an inverted index of all tokens.

use crate::filter::lcs::Pattern;
use std::ops::Range;

/// For each token, the texts that have it. Unlike the lists of rare words these are complete, so they cost four bytes a
/// word; who never asks for the nearest texts never fills them.
#[derive(Debug, Default)]
pub struct Overlaps {
    /// By token; positions of texts, ascending.
    lists: Vec<Vec<u32>>,
    texts: usize,
}

/// A count that has reached this is this or more.
pub const MANY: u8 = u8::MAX;

impl Overlaps {
    /// Brings in the next text; its tokens are all known and different.
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

    /// Puts into `counts` how many of `tokens` each of the first `within` texts has; up to [`MANY`].
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
        (token != Pattern::UNKNOWN)
            .then(|| self.lists.get(token as usize))
            .flatten()
            .map(Vec::as_slice)
    }

    /// The texts that are still to be brought in, of so many.
    pub fn missing(&self, texts: usize) -> Range<usize> {
        self.texts..texts
    }
}
