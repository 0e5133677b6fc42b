//! The inverted index of rare words: lists the texts that have a token among their rarest.
//!
//! Prefix filtering (Chaudhuri et al. 2006; Bayardo et al. 2007) with the positional filter of
//! PPJoin (Xiao et al. 2008). The tokens of all texts are sorted by one order. Two texts of m and n
//! tokens that share k of them share one of the first m − k + 1 of the one and the first n − k + 1
//! of the other. F1 above the threshold needs k > threshold·(m + n) / 2. So only the first tokens
//! of each text are indexed, and only the first tokens of a query are looked up. With the rarest
//! tokens first, the lists are short. If the first common token is at position i of the one and j
//! of the other, at most 1 + min(m − i − 1, n − j − 1) tokens are shared.

use super::signature::Signature;
use crate::filter::lcs::LcsPattern;
use crate::filter::rouge::Threshold;

/// A text that has a token among its rarest, with the data that most searches need to skip it. The
/// words are elsewhere in memory, and fetching them costs more than all work on postings.
#[derive(Debug, Clone, Copy)]
pub struct Posting {
    /// The position of the text in the index.
    pub entry: u32,
    /// The number of words in the upper 20 bits, the token's place among the sorted tokens in the
    /// lower 12. Both saturate.
    shape: u32,
    /// [`Signature::digest`] of all its tokens.
    pub digest: u64,
}

const PLACE_BITS: u32 = 12;
const MOST_PLACE: u32 = (1 << PLACE_BITS) - 1;
/// The saturated length of a posting: the text has this many words or more.
pub const MOST_LENGTH: u32 = (1 << (32 - PLACE_BITS)) - 1;

impl Posting {
    fn new(entry: u32, length: u32, place: u32, digest: u64) -> Posting {
        Posting {
            entry,
            shape: length.min(MOST_LENGTH) << PLACE_BITS | place.min(MOST_PLACE),
            digest,
        }
    }

    /// The number of words of the text; [`MOST_LENGTH`] means as many or more.
    #[inline(always)]
    pub fn length(self) -> u32 {
        self.shape >> PLACE_BITS
    }

    /// A lower bound on the number of the text's tokens that are rarer.
    #[inline(always)]
    pub fn place(self) -> u32 {
        self.shape & MOST_PLACE
    }
}

/// The texts that have a token among their rarest.
#[derive(Debug, Default)]
pub struct PostingList {
    /// First the settled postings, ordered by length, then by place, so that a search skips those
    /// that cannot match without reading them. Then the fresh ones, in the order of insertion.
    postings: Vec<Posting>,
    /// How many are settled.
    settled: usize,
    /// One past the newest settled text.
    settled_end: u32,
    /// The first settled posting of each length below [`LENGTHS`]; empty before the first sort.
    begins: Box<[u32]>,
}

/// Fresh postings that a list may have, or a quarter of the settled ones if that is more. Lists
/// this short are quick to scan.
const UNSETTLED: usize = 128;
/// Lengths whose first postings are kept.
const LENGTHS: usize = 80;

impl PostingList {
    fn push(&mut self, posting: Posting) {
        self.postings.push(posting);
        let fresh = self.postings.len() - self.settled;
        if fresh >= UNSETTLED.max(self.settled / 4) {
            self.settle();
        }
    }

    /// Sorts all postings. The stable sort makes use of the part that is sorted already.
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

    /// Whether a text at `start` or later is settled.
    #[inline(always)]
    pub fn is_settled_from(&self, start: u32) -> bool {
        start < self.settled_end
    }

    /// The settled postings of texts of `length` words, by place. `length` is below [`LENGTHS`] −
    /// 1.
    #[inline(always)]
    pub fn of_length(&self, length: u32) -> &[Posting] {
        let length = length as usize;
        &self.postings[self.begins[length] as usize..self.begins[length + 1] as usize]
    }

    /// The settled postings of texts of `length` words or more.
    pub fn of_length_from(&self, length: u32) -> &[Posting] {
        let settled = &self.postings[..self.settled];
        let known = self
            .begins
            .get((length as usize).min(LENGTHS - 1))
            .map_or(0, |&begin| begin as usize);
        let rest = &settled[known..];
        &rest[rest.partition_point(|posting| posting.length() < length)..]
    }

    /// The fresh postings of texts at `start` or later.
    #[inline]
    pub fn fresh(&self, start: u32) -> &[Posting] {
        let fresh = &self.postings[self.settled..];
        // The latest texts are few, at the end of a list that may be long.
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

/// The longest length that [`PostingList::of_length`] accepts.
pub const LONGEST_LISTED: u32 = LENGTHS as u32 - 2;

/// Posting lists by token, and the order of tokens.
#[derive(Debug)]
pub struct PrefixIndex {
    threshold: Threshold,
    lists: Vec<PostingList>,
    /// The number of texts that have each token.
    frequency: Vec<u32>,
    /// The position of each token in the order, rarest first. Changes only when all texts are
    /// indexed again.
    rank: Vec<i32>,
    /// The rank of the next new token: before all others, since an unseen token is the rarest.
    next_rank: i32,
}

impl PrefixIndex {
    /// Makes an empty index.
    pub fn new(threshold: Threshold) -> PrefixIndex {
        PrefixIndex {
            threshold,
            lists: Vec::new(),
            frequency: Vec::new(),
            rank: Vec::new(),
            next_rank: -1,
        }
    }

    /// Sorts the tokens of a text: unknown ones first, then the rarest first.
    pub fn order(&self, tokens: &mut [u32]) {
        tokens.sort_unstable_by_key(|&token| {
            (self.rank.get(token as usize).copied().unwrap_or(i32::MIN), token)
        });
    }

    /// The texts that have `token` among their rarest; `None` for a token that no text has.
    pub fn of(&self, token: u32) -> Option<&PostingList> {
        self.lists.get(token as usize)
    }

    /// Appends a text and sorts its tokens. All tokens are below `vocabulary`.
    pub fn push(&mut self, entry: u32, tokens: &mut [u32], vocabulary: usize) {
        while self.rank.len() < vocabulary {
            self.rank.push(self.next_rank);
            self.next_rank -= 1;
            self.frequency.push(0);
            self.lists.push(PostingList::default());
        }
        for &token in &*tokens {
            debug_assert_ne!(token, LcsPattern::UNKNOWN);
            self.frequency[token as usize] += 1;
        }
        self.order(tokens);
        self.list(entry, tokens);
    }

    /// Adds postings for the prefix of a text's sorted tokens.
    fn list(&mut self, entry: u32, tokens: &[u32]) {
        let length = tokens.len() as u32;
        let digest = Signature::new(tokens).digest();
        let prefix = &tokens[..self.threshold.prefix(length) as usize];
        for (place, &token) in (0..).zip(prefix) {
            self.lists[token as usize].push(Posting::new(entry, length, place, digest));
        }
    }

    /// Orders tokens by their current frequency and indexes all texts again. `tokens(entry,
    /// buffer)` writes the tokens of a text into the buffer.
    pub fn renew(&mut self, entries: u32, mut tokens: impl FnMut(u32, &mut Vec<u32>)) {
        let mut order: Vec<u32> = (0..self.frequency.len() as u32).collect();
        order.sort_by_key(|&token| self.frequency[token as usize]);
        for (rank, token) in (0..).zip(order) {
            self.rank[token as usize] = rank;
        }
        self.next_rank = -1;
        self.lists.iter_mut().for_each(PostingList::clear);
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
