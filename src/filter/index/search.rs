//! Finds the most similar text above the threshold.
//!
//! A search looks into dozens of short lists, which are anywhere in memory. Each takes three
//! reads, of which one needs what the one before it read. So some lists are opened at once, then
//! the places where their postings begin are read, then they are looked through: the processor
//! waits for several of them at a time rather than for one after another.

use super::prefix::{LONGEST_LISTED, ListNumber, MOST_LENGTH, Opened, Posting};
use super::recent::Recent;
use super::{Index, Query, RougeL, Signature, SimilarText};
use crate::filter::lcs::LcsPattern;
use std::cell::RefCell;
use std::ops::Range;

/// Buffers that searches of one thread reuse.
#[derive(Default)]
struct SearchScratch {
    pattern: LcsPattern,
    /// For each text, the number of the last search that compared it.
    seen: Vec<u32>,
    /// The number of the current search.
    number: u32,
    /// The smallest LCS of interest for each length, from [`Search::shortest`] on.
    least: Vec<u32>,
    /// The lists to look into, each with the place of its token among the query's.
    lists: Vec<(ListNumber, u32)>,
}

/// Lists that are opened at once: about as many reads as processors have under way.
const AT_ONCE: usize = 16;

thread_local! {
    static SCRATCH: RefCell<SearchScratch> = RefCell::default();
}

/// Lengths in the table of smallest LCS. Longer texts are rare, and computed one by one.
const TABLE: u32 = 1024;

/// A search in progress.
pub struct Search<'a> {
    index: &'a Index,
    scratch: &'a mut SearchScratch,
    words: &'a [u32],
    range: Range<usize>,
    signature: Signature,
    digest: u64,
    /// The number of words of the query.
    length: u32,
    /// How many of the query's tokens some indexed text has.
    known: u32,
    /// The fewest words of a text that can be above the threshold.
    shortest: u32,
    best: Option<SimilarText>,
    /// Whether the LCS pattern of the query is prepared. Most searches never need it.
    ready: bool,
}

impl Search<'_> {
    /// The most similar text in `range` above the index's threshold, the earliest among equals. If
    /// these are `recent` texts, only lists are looked into that have one.
    pub fn run(
        index: &Index,
        query: &Query,
        range: Range<usize>,
        recent: Option<&Recent>,
    ) -> Option<SimilarText> {
        let Query {
            encoded,
            tokens,
            signature,
            known,
            ..
        } = query;
        let length = tokens.len() as u32;
        let prefix = index.threshold.prefix(length);
        // The rarest tokens are the unknown ones. If they fill the prefix, nothing can match.
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
            let mut lists = std::mem::take(&mut search.scratch.lists);
            lists.clear();
            let wanted = |token| recent.is_none_or(|recent| recent.may_have(token));
            index
                .prefixes
                .each_list(tokens, wanted, |list, place| lists.push((list, place)));
            for some in lists.chunks(AT_ONCE) {
                search.look_through_some(some);
            }
            search.scratch.lists = lists;
            search.best
        })
    }

    /// The smallest LCS that makes a text of `other` words at least as similar as the best so far.
    fn least_lcs(&self, other: u32) -> u32 {
        match self.best {
            None => self.index.threshold.least_lcs(self.length + other),
            Some(best) => best.score.least_lcs(self.length + other),
        }
    }

    /// Fills the table of [`Search::least_lcs`].
    fn fill_table(&mut self) {
        let longest = self.index.threshold.longest(self.length);
        let longest = longest.min(self.shortest.saturating_add(TABLE - 1));
        let mut least = std::mem::take(&mut self.scratch.least);
        least.clear();
        least.extend((self.shortest..=longest).map(|other| self.least_lcs(other)));
        self.scratch.least = least;
    }

    /// [`Search::least_lcs`] from the table; `None` if no text of this length can be above the
    /// threshold.
    #[inline(always)]
    fn wanted(&self, other: u32) -> Option<u32> {
        match self.scratch.least.get(other.wrapping_sub(self.shortest) as usize) {
            Some(&least) => Some(least),
            None if other < self.shortest || self.scratch.least.len() < TABLE as usize => None,
            None => Some(self.least_lcs(other)),
        }
    }

    /// Compares the texts of some lists.
    fn look_through_some(&mut self, some: &[(ListNumber, u32)]) {
        let index = self.index;
        let start = self.range.start as u32;
        let mut opened = [Opened::default(); AT_ONCE];
        for (opened, (number, _)) in opened.iter_mut().zip(some) {
            *opened = index.prefixes.list_of(*number).open(start);
        }
        let opened = &opened[..some.len()];
        let touched = opened
            .iter()
            .fold(0, |touched, list| touched ^ list.touch(self.shortest));
        // Keeps the reads.
        std::hint::black_box(touched);
        for (list, (_, place)) in opened.iter().zip(some) {
            self.look_through(list, *place);
        }
    }

    /// Compares the texts of a list. Its token is at `place` of the query's sorted tokens.
    fn look_through(&mut self, list: &Opened, place: u32) {
        let room = self.length - place;
        if list.has_settled() {
            let mut other = self.shortest;
            while let Some(wanted) = self.wanted(other).filter(|&wanted| wanted <= room) {
                if other > LONGEST_LISTED {
                    for posting in list.of_length_from(other) {
                        self.look_at(posting, room);
                    }
                    break;
                }
                for posting in list.of_length(other) {
                    // Ordered by place: once one is too far back, all others are.
                    if posting.place() + wanted > other {
                        break;
                    }
                    self.consider(posting, wanted, other);
                }
                other += 1;
            }
        }
        for posting in list.fresh {
            self.look_at(posting, room);
        }
    }

    /// Considers a text unless its length or place rules it out.
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

    /// Compares a text unless its signature rules it out, or it was compared already.
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
            self.take(SimilarText {
                position: posting.entry as usize,
                score: RougeL { lcs, total },
            });
        }
    }

    fn take(&mut self, found: SimilarText) {
        if self.best.is_none_or(|best| found.precedes(&best)) {
            self.best = Some(found);
            // From now on, only texts at least as similar matter.
            self.fill_table();
        }
    }
}

impl SearchScratch {
    /// Begins a search among `texts` texts.
    fn begin(&mut self, texts: usize) {
        if self.seen.len() < texts {
            self.seen.resize(texts.next_power_of_two(), self.number);
        }
        // After an overflow, numbers of earlier searches must not look like the current one.
        self.number = self.number.checked_add(1).unwrap_or_else(|| {
            self.seen.fill(0);
            1
        });
    }
}
