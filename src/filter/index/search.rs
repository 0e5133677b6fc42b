//! The search for the most similar text above the threshold.

use super::prefix::{LONGEST_LISTED, List, MOST_LENGTH, Posting};
use super::{Index, Neighbor, Query, Score, Signature};
use crate::filter::lcs::Pattern;
use std::cell::RefCell;
use std::ops::Range;

/// What a search needs and the next one can use again.
#[derive(Default)]
struct Scratch {
    pattern: Pattern,
    /// The number of the search that each text was last compared in.
    seen: Vec<u32>,
    /// The number of this search.
    number: u32,
    /// The least LCS for texts of each length, from the shortest possible on.
    least: Vec<u32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Lengths that the table of least LCS is made for; longer texts are rare, and computed as they come.
const TABLE: u32 = 1024;

/// One search under way.
pub struct Search<'a> {
    index: &'a Index,
    scratch: &'a mut Scratch,
    words: &'a [u32],
    range: Range<usize>,
    signature: Signature,
    digest: u64,
    /// Words of the query.
    length: u32,
    /// How many of its tokens some text has.
    known: u32,
    /// The fewest words of a text that can be above the threshold.
    shortest: u32,
    best: Option<Neighbor>,
    /// Whether the pattern is that of this query; most searches compare nothing.
    ready: bool,
}

impl Search<'_> {
    /// The most similar text of `range` above the index's threshold, the earliest among equals.
    pub fn run(index: &Index, query: &Query, range: Range<usize>) -> Option<Neighbor> {
        let Query {
            encoded,
            tokens,
            signature,
            known,
            ..
        } = query;
        let length = tokens.len() as u32;
        let prefix = index.threshold.prefix(length);
        // The rarest are those that no text has.
        if range.is_empty() || prefix <= length - known {
            return None;
        }
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.begin(index.len());
            let mut search = Search {
                index,
                scratch,
                words: &encoded.words,
                range,
                signature: *signature,
                digest: signature.digest(),
                length,
                known: *known,
                shortest: index.threshold.shortest(length),
                best: None,
                ready: false,
            };
            search.fill_table();
            for (place, &token) in (0..prefix).zip(tokens) {
                if let Some(list) = index.prefixes.of(token) {
                    search.look_through(list, place);
                }
            }
            search.best
        })
    }

    /// The least LCS that makes a text of `other` words more similar than the best so far, or as similar.
    fn least_lcs(&self, other: u32) -> u32 {
        match self.best {
            None => self.index.threshold.least_lcs(self.length + other),
            Some(best) => best.score.least_lcs(self.length + other),
        }
    }

    fn fill_table(&mut self) {
        let longest = self.index.threshold.longest(self.length);
        let longest = longest.min(self.shortest.saturating_add(TABLE - 1));
        let mut least = std::mem::take(&mut self.scratch.least);
        least.clear();
        least.extend((self.shortest..=longest).map(|other| self.least_lcs(other)));
        self.scratch.least = least;
    }

    /// The same from the table; none where no text of this length can be above the threshold.
    #[inline(always)]
    fn wanted(&self, other: u32) -> Option<u32> {
        match self.scratch.least.get(other.wrapping_sub(self.shortest) as usize) {
            Some(&least) => Some(least),
            None if other < self.shortest || self.scratch.least.len() < TABLE as usize => None,
            None => Some(self.least_lcs(other)),
        }
    }

    /// Compares the texts of a list, whose token stands at `place` among those of the query.
    fn look_through(&mut self, list: &List, place: u32) {
        let room = self.length - place;
        if list.is_settled_from(self.range.start as u32) {
            let mut other = self.shortest;
            while let Some(wanted) = self.wanted(other).filter(|&wanted| wanted <= room) {
                if other > LONGEST_LISTED {
                    for posting in list.of_length_from(other) {
                        self.look_at(posting, room);
                    }
                    break;
                }
                for posting in list.of_length(other) {
                    // They are ordered by place: after one that stands too far back, all do.
                    if posting.place() + wanted > other {
                        break;
                    }
                    self.consider(posting, wanted, other);
                }
                other += 1;
            }
        }
        for posting in list.fresh(self.range.start as u32) {
            self.look_at(posting, room);
        }
    }

    /// Passes by a text whose length or place does not allow what is wanted.
    #[inline(always)]
    fn look_at(&mut self, posting: &Posting, room: u32) {
        let other = match posting.length() {
            MOST_LENGTH => self.index.entries[posting.entry as usize].length,
            length => length,
        };
        if let Some(wanted) = self.wanted(other)
            && wanted <= room
            && posting.place() + wanted <= other
        {
            self.consider(posting, wanted, other);
        }
    }

    /// Compares a text unless its signature forbids what is wanted.
    #[inline(always)]
    fn consider(&mut self, posting: &Posting, wanted: u32, other: u32) {
        let possible = self.known + other;
        if 2 * wanted + (self.digest ^ posting.digest).count_ones() > possible
            || !self.range.contains(&(posting.entry as usize))
        {
            return;
        }
        let entry = self.index.entries[posting.entry as usize];
        if 2 * wanted + self.signature.difference(entry.signature) > possible {
            return;
        }
        let seen = &mut self.scratch.seen[posting.entry as usize];
        if *seen == self.scratch.number {
            return;
        }
        *seen = self.scratch.number;
        if !self.ready {
            self.scratch.pattern.set(self.words);
            self.ready = true;
        }
        if let Some(lcs) = self.scratch.pattern.lcs(self.index.words_of(entry), wanted) {
            let total = self.length + other;
            self.take(Neighbor {
                position: posting.entry as usize,
                score: Score { lcs, total },
            });
        }
    }

    fn take(&mut self, found: Neighbor) {
        if self.best.is_none_or(|best| found.precedes(&best)) {
            self.best = Some(found);
            // From here on only what is at least as similar matters.
            self.fill_table();
        }
    }
}

impl Scratch {
    /// Begins a search among so many texts.
    fn begin(&mut self, texts: usize) {
        if self.seen.len() < texts {
            self.seen.resize(texts.next_power_of_two(), self.number);
        }
        // A count that starts over must not meet marks of the round before.
        self.number = self.number.checked_add(1).unwrap_or_else(|| {
            self.seen.fill(0);
            1
        });
    }
}
