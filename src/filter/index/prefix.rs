//! The inverted index of rare words: which texts have a token among their rarest.
//!
//! Prefix filtering (Chaudhuri et al. 2006; Bayardo et al. 2007; with the positional filter of PPJoin, Xiao et al.
//! 2008): put the tokens of every text into one order. Two texts that share k tokens share one of the first m − k + 1
//! of the one and the first n − k + 1 of the other. F1 above the threshold needs k > threshold·(m+n)/2, so only the
//! first tokens of each text are indexed and only the first of a query looked up; with the rarest first the lists are
//! short. And where the first common token stands at place i of the one and j of the other, at most
//! 1 + min(m − i − 1, n − j − 1) are shared.

use super::signature::Signature;
use crate::filter::lcs::Pattern;
use crate::filter::rouge::Threshold;

/// A text that has a token among its rarest, with what most searches need to pass it by: the rest of the text lies
/// elsewhere in memory, and fetching it costs more than everything that is done here.
#[derive(Debug, Clone, Copy)]
pub struct Posting {
    /// The text.
    pub entry: u32,
    /// Its length in words in the upper 20 bits, the token's place among its tokens in the lower 12; both saturate.
    shape: u32,
    /// Of all its tokens.
    pub digest: u64,
}

const PLACE_BITS: u32 = 12;
const MOST_PLACE: u32 = (1 << PLACE_BITS) - 1;
/// Texts of this length and longer look the same in a posting.
pub const MOST_LENGTH: u32 = (1 << (32 - PLACE_BITS)) - 1;

impl Posting {
    fn new(entry: u32, length: u32, place: u32, digest: u64) -> Posting {
        Posting {
            entry,
            shape: length.min(MOST_LENGTH) << PLACE_BITS | place.min(MOST_PLACE),
            digest,
        }
    }

    /// Words of the text; [`MOST_LENGTH`] may be more.
    #[inline(always)]
    pub fn length(self) -> u32 {
        self.shape >> PLACE_BITS
    }

    /// How many tokens of the text are rarer, at least.
    #[inline(always)]
    pub fn place(self) -> u32 {
        self.shape & MOST_PLACE
    }
}

/// The texts that have one token among their rarest.
#[derive(Debug, Default)]
pub struct List {
    /// Ordered by length, then by place, so that a search passes by what cannot do without a look; then what came
    /// since, in the order in which it came.
    postings: Vec<Posting>,
    /// How many are ordered so.
    settled: usize,
    /// One past the newest text among these.
    settled_end: u32,
    /// Where each length below [`LENGTHS`] begins among these; empty while they are few.
    begins: Box<[u32]>,
}

/// What came since may be a quarter of the list, or so many: short lists are read through as quickly as any.
const UNSETTLED: usize = 128;
/// Lengths whose beginnings are kept.
const LENGTHS: usize = 80;

impl List {
    fn push(&mut self, posting: Posting) {
        self.postings.push(posting);
        let fresh = self.postings.len() - self.settled;
        if fresh >= UNSETTLED.max(self.settled / 4) {
            self.settle();
        }
    }

    /// Orders all; a stable sort finds the runs that are in order already.
    fn settle(&mut self) {
        self.settled_end = self.postings.last().map_or(0, |last| last.entry + 1);
        self.postings.sort_by_key(|posting| posting.shape);
        self.settled = self.postings.len();
        let mut begins = vec![0; LENGTHS];
        let mut place = 0;
        for (length, begin) in (0..).zip(&mut begins) {
            place += self.postings[place..]
                .iter()
                .take_while(|posting| posting.length() < length)
                .count();
            *begin = place as u32;
        }
        self.begins = begins.into();
    }

    fn clear(&mut self) {
        self.postings.clear();
        (self.settled, self.settled_end) = (0, 0);
        self.begins = Box::default();
    }

    /// Whether a text from `start` on is among those that are settled.
    #[inline(always)]
    pub fn is_settled_from(&self, start: u32) -> bool {
        start < self.settled_end
    }

    /// The settled postings of texts of `length` words, less than [`LENGTHS`] − 1, by place.
    #[inline(always)]
    pub fn of_length(&self, length: u32) -> &[Posting] {
        let length = length as usize;
        &self.postings[self.begins[length] as usize..self.begins[length + 1] as usize]
    }

    /// The settled postings of texts of so many words or more.
    pub fn of_length_from(&self, length: u32) -> &[Posting] {
        let settled = &self.postings[..self.settled];
        let known = self
            .begins
            .get((length as usize).min(LENGTHS - 1))
            .map_or(0, |&begin| begin as usize);
        let rest = &settled[known..];
        &rest[rest.partition_point(|posting| posting.length() < length)..]
    }

    /// The postings that came since, of texts from `start` on.
    #[inline]
    pub fn fresh(&self, start: u32) -> &[Posting] {
        let fresh = &self.postings[self.settled..];
        // Where only the latest texts are wanted they are few, at the end of a list that may be long.
        let latest = match start {
            0 => fresh.len(),
            _ => fresh
                .iter()
                .rev()
                .take_while(|posting| posting.entry >= start)
                .count(),
        };
        &fresh[fresh.len() - latest..]
    }
}

/// The longest texts that [`List::of_length`] knows.
pub const LONGEST_LISTED: u32 = LENGTHS as u32 - 2;

/// Lists of postings by token, and the order of tokens.
#[derive(Debug)]
pub struct Prefixes {
    threshold: Threshold,
    lists: Vec<List>,
    /// How many texts have the token.
    frequency: Vec<u32>,
    /// The order of tokens: rarest first. Never changes but when everything is indexed anew.
    rank: Vec<i32>,
    /// The rank of the next new token: below all others, for a token never seen before is the rarest.
    next_rank: i32,
}

impl Prefixes {
    /// No texts yet.
    pub fn new(threshold: Threshold) -> Prefixes {
        Prefixes {
            threshold,
            lists: Vec::new(),
            frequency: Vec::new(),
            rank: Vec::new(),
            next_rank: -1,
        }
    }

    /// Puts the tokens of a text in order, the rarest first; unknown ones before all.
    pub fn order(&self, tokens: &mut [u32]) {
        tokens.sort_unstable_by_key(|&token| {
            (self.rank.get(token as usize).copied().unwrap_or(i32::MIN), token)
        });
    }

    /// Texts that have `token` among their rarest, if any ever had it.
    pub fn of(&self, token: u32) -> Option<&List> {
        self.lists.get(token as usize)
    }

    /// Adds a text behind all others; puts its tokens in order. All tokens are below `vocabulary`.
    pub fn push(&mut self, entry: u32, tokens: &mut [u32], vocabulary: usize) {
        while self.rank.len() < vocabulary {
            self.rank.push(self.next_rank);
            self.next_rank -= 1;
            self.frequency.push(0);
            self.lists.push(List::default());
        }
        for &token in &*tokens {
            debug_assert_ne!(token, Pattern::UNKNOWN);
            self.frequency[token as usize] += 1;
        }
        self.order(tokens);
        self.list(entry, tokens);
    }

    fn list(&mut self, entry: u32, tokens: &[u32]) {
        let length = tokens.len() as u32;
        let digest = Signature::new(tokens).digest();
        let prefix = &tokens[..self.threshold.prefix(length) as usize];
        for (place, &token) in (0..).zip(prefix) {
            self.lists[token as usize].push(Posting::new(entry, length, place, digest));
        }
    }

    /// Orders tokens by how many texts have them today and indexes all texts anew. `tokens(entry, buffer)` gives the
    /// tokens of a text.
    pub fn renew(&mut self, entries: u32, mut tokens: impl FnMut(u32, &mut Vec<u32>)) {
        let mut order: Vec<u32> = (0..self.frequency.len() as u32).collect();
        order.sort_by_key(|&token| self.frequency[token as usize]);
        for (rank, token) in (0..).zip(order) {
            self.rank[token as usize] = rank;
        }
        self.next_rank = -1;
        self.lists.iter_mut().for_each(List::clear);
        let mut buffer = Vec::new();
        for entry in 0..entries {
            tokens(entry, &mut buffer);
            self.order(&mut buffer);
            self.list(entry, &buffer);
        }
        self.lists
            .iter_mut()
            .for_each(|list| list.postings.shrink_to_fit());
    }
}
