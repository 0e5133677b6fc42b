//! The inverted index of rare words: lists the texts that have a token among their rarest.
//!
//! Prefix filtering (Chaudhuri et al. 2006; Bayardo et al. 2007) with the positional filter of
//! PPJoin (Xiao et al. 2008). The tokens of all texts are sorted by one order. Two texts of m and n
//! tokens that share k of them share one of the first m − k + 1 of the one and the first n − k + 1
//! of the other. F1 above the threshold needs k > threshold·(m + n) / 2. So only the first tokens
//! of each text are indexed, and only the first tokens of a query are looked up. With the rarest
//! tokens first, the lists are short. If the first common token is at position i of the one and j
//! of the other, at most 1 + min(m − i − 1, n − j − 1) tokens are shared.
//!
//! Lists grow with the texts, and the few longest take most of the time. So a long list is split by
//! a second token: two texts that share k ≥ 2 tokens share two among the first m − k + 2 and
//! n − k + 2 (Wang et al. 2012, "Can we beat the prefix filtering?"). A text is then in a bucket
//! for each token behind the first within that longer prefix. These are few, since frequent tokens
//! are last.

use super::signature::Signature;
use crate::filter::lcs::LcsPattern;
use crate::filter::rouge::Threshold;
use rayon::prelude::*;

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
    settled: u32,
    /// One past the newest settled text.
    settled_end: u32,
    /// The first settled posting of each length below [`LENGTHS`]; none before the first sort.
    begins: Option<Box<[u32; LENGTHS]>>,
}

/// What a search needs of a list, read before its postings are. See [`Search`](super::search).
#[derive(Default, Clone, Copy)]
pub struct Opened<'a> {
    /// The settled postings, if any of them are of texts that are looked for, and where each length
    /// begins.
    settled: Option<(&'a [Posting], &'a [u32; LENGTHS])>,
    /// The fresh postings of texts that are looked for.
    pub fresh: &'a [Posting],
}

/// The number of a list, of a token or of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListNumber(u32);

impl ListNumber {
    const PAIR: u32 = 1 << 31;
}

/// Fresh postings that a list may have, or a quarter of the settled ones if that is more. Lists
/// this short are quick to scan.
const UNSETTLED: usize = 128;
/// Lengths whose first postings are kept.
const LENGTHS: usize = 80;

impl PostingList {
    fn push(&mut self, posting: Posting) {
        self.postings.push(posting);
        let settled = self.settled as usize;
        if self.postings.len() - settled >= UNSETTLED.max(settled / 4) {
            self.settle();
        }
    }

    /// Sorts all postings. The stable sort makes use of the part that is sorted already.
    fn settle(&mut self) {
        self.settled_end = self.postings.last().map_or(0, |last| last.entry + 1);
        self.postings.sort_by_key(|posting| posting.shape);
        self.settled = self.postings.len() as u32;
        let begins = self.begins.get_or_insert_with(|| Box::new([0; LENGTHS]));
        let mut place = 0;
        for (length, begin) in (0..).zip(begins.iter_mut()) {
            place += self.postings[place..]
                .iter()
                .take_while(|posting| posting.length() < length)
                .count();
            *begin = place as u32;
        }
    }

    fn clear(&mut self) {
        self.postings.clear();
        (self.settled, self.settled_end) = (0, 0);
        self.begins = None;
    }

    /// Opens the list for a search among texts at `start` or later.
    #[inline(always)]
    pub fn open(&self, start: u32) -> Opened<'_> {
        let (settled, fresh) = self.postings.split_at(self.settled as usize);
        // The latest texts are few, at the end of a list that may be long.
        let latest = match start {
            0 => fresh.len(),
            _ => fresh
                .iter()
                .rev()
                .take_while(|posting| posting.entry >= start)
                .count(),
        };
        let begins = self.begins.as_deref().filter(|_| start < self.settled_end);
        Opened {
            settled: begins.map(|begins| (settled, begins)),
            fresh: &fresh[fresh.len() - latest..],
        }
    }
}

impl<'a> Opened<'a> {
    /// Whether a settled text is looked for.
    #[inline(always)]
    pub fn has_settled(&self) -> bool {
        self.settled.is_some()
    }

    /// Reads where the postings begin that a search for texts of `length` words or more looks at
    /// first, so that they are on their way from memory.
    #[inline(always)]
    pub fn touch(&self, length: u32) -> u32 {
        let shape = |posting: Option<&Posting>| posting.map_or(0, |posting| posting.shape);
        let fresh = shape(self.fresh.first()) ^ shape(self.fresh.last());
        let settled = self.settled.map_or(0, |(settled, begins)| {
            let begin = begins[(length as usize).min(LENGTHS - 1)];
            shape(settled.get(begin as usize))
        });
        fresh ^ settled
    }

    /// The settled postings of texts of `length` words, by place. `length` is below [`LENGTHS`] −
    /// 1.
    #[inline(always)]
    pub fn of_length(&self, length: u32) -> &'a [Posting] {
        let length = length as usize;
        match self.settled {
            Some((settled, begins)) => &settled[begins[length] as usize..begins[length + 1] as usize],
            None => &[],
        }
    }

    /// The settled postings of texts of `length` words or more.
    pub fn of_length_from(&self, length: u32) -> &'a [Posting] {
        let Some((settled, begins)) = self.settled else {
            return &[];
        };
        let rest = &settled[begins[(length as usize).min(LENGTHS - 1)] as usize..];
        &rest[rest.partition_point(|posting| posting.length() < length)..]
    }
}

/// The longest length that [`Opened::of_length`] accepts.
pub const LONGEST_LISTED: u32 = LENGTHS as u32 - 2;

/// Texts that have a token among their rarest, from which on its list is split …
const SPLIT: u32 = if cfg!(test) { 4 } else { 512 };
/// … and how many of them there are for a bucket, about, when the tokens are ordered.
const OF_BUCKET: u32 = if cfg!(test) { 2 } else { 16 };

/// The most words of a text that is in buckets, if no text that has four times as many can be above
/// the threshold with it. Otherwise, and of longer texts, there would be too many pairs.
const PAIRED: u32 = 48;

/// The buckets of a token: where they begin, and the bits of a hash that choose one; none if its
/// list is not split.
#[derive(Debug, Default, Clone, Copy)]
struct Buckets {
    start: u32,
    bits: u8,
}

impl Buckets {
    /// The number of the bucket of texts that have `second` as well.
    #[inline(always)]
    fn of(self, second: u32) -> usize {
        let hash = second.wrapping_mul(0x9E37_79B1) >> (32 - u32::from(self.bits));
        (self.start + hash) as usize
    }
}

/// What is listed of a text.
struct Listed {
    /// The first of its sorted tokens, one more than the prefix has if there are as many.
    tokens: Box<[u32]>,
    /// The number of all its tokens.
    length: u32,
    prefix: u32,
    digest: u64,
}

impl Listed {
    fn new(tokens: &[u32], threshold: Threshold) -> Listed {
        let length = tokens.len() as u32;
        let prefix = threshold.prefix(length);
        Listed {
            tokens: tokens[..tokens.len().min(prefix as usize + 1)].into(),
            length,
            prefix,
            digest: Signature::new(tokens).digest(),
        }
    }
}

/// Posting lists by token, and the order of tokens.
#[derive(Debug)]
pub struct PrefixIndex {
    threshold: Threshold,
    lists: Vec<PostingList>,
    /// The lists of pairs of tokens.
    pairs: Vec<PostingList>,
    /// By token. Changes only when all texts are indexed again, like the order.
    buckets: Vec<Buckets>,
    /// The number of texts that have each token among their rarest.
    listed: Vec<u32>,
    /// The most words of a text that is in buckets.
    longest_paired: u32,
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
            pairs: Vec::new(),
            buckets: Vec::new(),
            listed: Vec::new(),
            longest_paired: match threshold.longest(PAIRED) <= 4 * PAIRED {
                true => PAIRED,
                false => 0,
            },
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

    /// About how many bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        let of_list = |list: &PostingList| {
            let begins = list.begins.as_ref().map_or(0, |_| size_of::<[u32; LENGTHS]>());
            list.postings.capacity() * size_of::<Posting>() + begins
        };
        let lists: usize = self.lists.iter().chain(&self.pairs).map(of_list).sum();
        let of_token = 3 * size_of::<u32>() + size_of::<Buckets>();
        lists
            + (self.lists.capacity() + self.pairs.capacity()) * size_of::<PostingList>()
            + self.rank.capacity() * of_token
    }

    /// Returns a list by its number.
    #[inline(always)]
    pub fn list_of(&self, number: ListNumber) -> &PostingList {
        match number.0 & ListNumber::PAIR {
            0 => &self.lists[number.0 as usize],
            _ => &self.pairs[(number.0 ^ ListNumber::PAIR) as usize],
        }
    }

    /// Calls `look` with each list that may have a text above the threshold, for a text with these
    /// sorted tokens, and with a lower bound on the number of its tokens before the first shared
    /// one. Leaves out the lists of tokens that no text has which is `wanted`.
    #[inline]
    pub fn each_list(
        &self,
        tokens: &[u32],
        wanted: impl Fn(u32) -> bool,
        mut look: impl FnMut(ListNumber, u32),
    ) {
        let length = tokens.len() as u32;
        let prefix = self.threshold.prefix(length);
        let meets_pairs = self.threshold.shortest(length) <= self.longest_paired;
        for (place, &token) in (0..prefix).zip(tokens) {
            if token as usize >= self.lists.len() || !wanted(token) {
                continue;
            }
            look(ListNumber(token), place);
            let buckets = self.buckets[token as usize];
            if buckets.bits > 0 && meets_pairs {
                for (second, &other) in (place + 1..=prefix).zip(&tokens[place as usize + 1..]) {
                    // The two are all that is shared up to the second.
                    look(
                        ListNumber(buckets.of(other) as u32 | ListNumber::PAIR),
                        second - 1,
                    );
                }
            }
        }
    }

    /// Whether a text of this length is in buckets of split lists. A long one would be in too many,
    /// and one that may share a single token with a text above the threshold would not be found.
    fn is_paired(&self, length: u32) -> bool {
        length <= self.longest_paired && self.threshold.least_shared(length) >= 2
    }

    /// Returns the first of a text's sorted tokens: a text above the threshold has one of them.
    pub fn first<'t>(&self, tokens: &'t [u32]) -> &'t [u32] {
        let prefix = self.threshold.prefix(tokens.len() as u32);
        &tokens[..tokens.len().min(prefix as usize)]
    }

    /// Appends a text and sorts its tokens. All tokens are below `vocabulary`.
    pub fn push(&mut self, entry: u32, tokens: &mut [u32], vocabulary: usize) {
        while self.rank.len() < vocabulary {
            self.rank.push(self.next_rank);
            self.next_rank -= 1;
            self.frequency.push(0);
            self.listed.push(0);
            self.buckets.push(Buckets::default());
            self.lists.push(PostingList::default());
        }
        for &token in &*tokens {
            debug_assert_ne!(token, LcsPattern::UNKNOWN);
            self.frequency[token as usize] += 1;
        }
        self.order(tokens);
        self.list(entry, &Listed::new(tokens, self.threshold));
    }

    /// Adds postings for the prefix of a text.
    fn list(&mut self, entry: u32, text: &Listed) {
        let &Listed {
            ref tokens,
            length,
            prefix,
            digest,
        } = text;
        let posting = |place| Posting::new(entry, length, place, digest);
        let is_paired = self.is_paired(length);
        for (place, &token) in (0..prefix).zip(tokens) {
            self.listed[token as usize] += 1;
            let buckets = self.buckets[token as usize];
            if buckets.bits == 0 || !is_paired {
                self.lists[token as usize].push(posting(place));
                continue;
            }
            for (second, &other) in (place + 1..=prefix).zip(&tokens[place as usize + 1..]) {
                self.pairs[buckets.of(other)].push(posting(second - 1));
            }
        }
    }

    /// Orders tokens by their current frequency and indexes all texts again. `tokens(entry,
    /// buffer)` writes the tokens of a text into the buffer.
    pub fn renew(&mut self, entries: u32, tokens: impl Fn(u32, &mut Vec<u32>) + Sync) {
        /// Texts that are prepared on all cores before one of them lists them.
        const AT_ONCE: usize = 1 << 14;
        let mut order: Vec<u32> = (0..self.frequency.len() as u32).collect();
        order.sort_by_key(|&token| self.frequency[token as usize]);
        for (rank, token) in (0..).zip(order) {
            self.rank[token as usize] = rank;
        }
        self.next_rank = -1;
        self.lists.iter_mut().for_each(PostingList::clear);
        self.split();
        for first in (0..entries).step_by(AT_ONCE) {
            let some = first..entries.min(first + AT_ONCE as u32);
            let prepared: Vec<Listed> = some
                .clone()
                .into_par_iter()
                .map_init(Vec::new, |buffer, entry| {
                    tokens(entry, buffer);
                    self.order(buffer);
                    Listed::new(buffer, self.threshold)
                })
                .collect();
            for (entry, text) in some.zip(&prepared) {
                self.list(entry, text);
            }
        }
        self.lists
            .iter_mut()
            .chain(&mut self.pairs)
            .for_each(|list| list.postings.shrink_to_fit());
    }

    /// Splits the lists that were long. Their number of texts is that of the order before, which is
    /// much like this one.
    fn split(&mut self) {
        self.pairs.clear();
        let mut start = 0;
        for (buckets, listed) in self.buckets.iter_mut().zip(&mut self.listed) {
            *buckets = Buckets::default();
            if *listed >= SPLIT {
                let bits = (*listed / OF_BUCKET).ilog2().clamp(1, 24) as u8;
                *buckets = Buckets { start, bits };
                start += 1 << bits;
            }
            *listed = 0;
        }
        self.pairs.resize_with(start as usize, PostingList::default);
    }
}
