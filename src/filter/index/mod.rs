//! Finds the most similar among the texts admitted so far.
//!
//! Results equal those of comparing with every text by exact ROUGE-L F1. They depend neither on the
//! number of threads nor on how texts are split into batches. A pair of texts goes through these
//! filters, in order: the inverted index of rare words with lengths and positions ([`prefix`]), the
//! bitmap of words ([`signature`]), and the bit-parallel LCS, which stops as soon as it cannot be
//! long enough ([`search`]).
//!
//! [`nearest`] also searches below the threshold, where rare words do not help. It counts shared
//! words with an inverted index of all words ([`overlap`]).

mod nearest;
mod overlap;
mod prefix;
mod recent;
mod search;
mod signature;
#[cfg(test)]
mod tests;

use super::lcs::LcsPattern;
use super::rouge::{RougeL, Threshold};
use super::vocabulary::{EncodedText, Vocabulary, known};
use overlap::Overlaps;
use prefix::PrefixIndex;
use rayon::prelude::*;
use recent::Recent;
use search::Search;
use signature::Signature;

/// The most words that all texts of an index may have together.
pub const MOST_WORDS: usize = u32::MAX as usize;

/// Texts compared by ROUGE-L F1. A text is identified by its position, from 0 in the order of
/// admission.
#[derive(Debug)]
pub struct Index {
    threshold: Threshold,
    vocabulary: Vocabulary,
    /// The words of all texts, one text after another.
    words: Vec<u32>,
    entries: Vec<IndexedText>,
    prefixes: PrefixIndex,
    /// Covers the texts up to the last search of [`Index::nearest`].
    overlaps: Overlaps,
    /// How many texts there were when tokens were last ordered by rarity.
    ordered: usize,
    /// The tokens by which texts of the current batch are found.
    recent: Recent,
}

/// Where the words of a text are, and their signature.
#[derive(Debug, Clone, Copy)]
struct IndexedText {
    signature: Signature,
    /// The position of its first word.
    start: u32,
    /// Its number of words.
    length: u32,
}

/// A text prepared for a search, or for being inserted.
struct Query {
    encoded: EncodedText,
    /// Unknown tokens first, then the rarest first.
    tokens: Vec<u32>,
    signature: Signature,
    /// How many of the tokens some indexed text has.
    known: u32,
    /// [`Index::ordered`] when `tokens` were sorted.
    ordered: usize,
}

/// What becomes of a text that [`Index::admit_as`] compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stay {
    /// It is appended unless it is a duplicate.
    IfNew,
    /// It is appended.
    Always,
    /// It is not appended.
    Never,
}

/// A text of the index and its similarity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimilarText {
    /// The position of the text.
    pub position: usize,
    /// ROUGE-L F1 with the query.
    pub score: RougeL,
}

impl SimilarText {
    /// Whether this text is better: more similar, or earlier and equally similar.
    fn precedes(&self, other: &SimilarText) -> bool {
        self.score > other.score || (self.score == other.score && self.position < other.position)
    }
}

/// The better of two texts.
fn better(a: Option<SimilarText>, b: Option<SimilarText>) -> Option<SimilarText> {
    match (a, b) {
        (Some(a), Some(b)) if b.precedes(&a) => Some(b),
        (Some(a), _) => Some(a),
        (None, b) => b,
    }
}

impl Index {
    /// Makes an empty index. Two texts are duplicates if their similarity is above `threshold`.
    pub fn new(threshold: Threshold) -> Index {
        Index {
            threshold,
            vocabulary: Vocabulary::default(),
            words: Vec::new(),
            entries: Vec::new(),
            prefixes: PrefixIndex::new(threshold),
            overlaps: Overlaps::default(),
            ordered: 0,
            recent: Recent::default(),
        }
    }

    /// The number of texts.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Appends a text, whatever it is similar to.
    pub fn push(&mut self, text: &str) {
        let query = self.query(text);
        self.insert(query);
    }

    /// Appends texts, whatever they are similar to.
    pub fn extend(&mut self, texts: &[impl AsRef<str> + Sync]) {
        let queries: Vec<Query> = texts.par_iter().map(|text| self.query(text.as_ref())).collect();
        for mut query in queries {
            self.renew(&mut query);
            self.insert(query);
        }
    }

    /// Appends, in order, each text that is no duplicate of an earlier one, and each that is
    /// `certain` to stay. Returns for each text the most similar text that it is a duplicate of,
    /// the earliest among equals.
    pub fn admit(
        &mut self,
        texts: &[impl AsRef<str> + Sync],
        certain: impl Fn(usize) -> bool,
    ) -> Vec<Option<SimilarText>> {
        self.admit_as(texts, |i| match certain(i) {
            true => Stay::Always,
            false => Stay::IfNew,
        })
    }

    /// Compares texts in order, and appends those that `stay` says. Returns for each text the most
    /// similar text that it is a duplicate of, the earliest among equals.
    pub fn admit_as(
        &mut self,
        texts: &[impl AsRef<str> + Sync],
        stay: impl Fn(usize) -> Stay,
    ) -> Vec<Option<SimilarText>> {
        let before = self.len();
        self.recent.clear();
        // In parallel against the texts before this batch, then in order against those of the
        // batch, which are few.
        let searched: Vec<(Query, Option<SimilarText>)> = texts
            .par_iter()
            .map(|text| {
                let query = self.query(text.as_ref());
                let near = Search::run(self, &query, 0..before, None);
                (query, near)
            })
            .collect();
        let mut verdicts = Vec::with_capacity(texts.len());
        for (i, (mut query, near)) in searched.into_iter().enumerate() {
            self.renew(&mut query);
            let among = Search::run(self, &query, before..self.len(), Some(&self.recent));
            let near = better(near, among);
            match stay(i) {
                Stay::IfNew if near.is_some() => {}
                Stay::Never => {}
                Stay::IfNew | Stay::Always => self.insert(query),
            }
            verdicts.push(near);
        }
        verdicts
    }

    /// The text that `text` is a duplicate of, among the first `within` texts: the most similar,
    /// the earliest among equals.
    pub fn duplicate(&self, text: &str, within: usize) -> Option<SimilarText> {
        Search::run(self, &self.query(text), 0..within.min(self.len()), None)
    }

    /// [`Index::duplicate`] for many texts, in parallel.
    pub fn duplicates(&self, texts: &[impl AsRef<str> + Sync], within: usize) -> Vec<Option<SimilarText>> {
        texts
            .par_iter()
            .map(|text| self.duplicate(text.as_ref(), within))
            .collect()
    }

    /// About how many bytes of memory the texts take, without what [`Index::nearest`] adds.
    pub fn bytes(&self) -> usize {
        let texts =
            self.words.capacity() * size_of::<u32>() + self.entries.capacity() * size_of::<IndexedText>();
        texts + self.vocabulary.bytes() + self.prefixes.bytes()
    }

    /// How many words the texts have, of which [`MOST_WORDS`] have a place.
    pub fn words(&self) -> usize {
        self.words.len()
    }

    /// The similarity of two of its texts.
    pub fn score(&self, a: usize, b: usize) -> RougeL {
        let [a, b] = [a, b].map(|position| self.words_of(self.entries[position]));
        let mut pattern = LcsPattern::default();
        pattern.set(a);
        RougeL {
            lcs: pattern.lcs(b, 0).unwrap_or(0),
            total: (a.len() + b.len()) as u32,
        }
    }

    /// Prepares a text for a search, or for being inserted.
    fn query(&self, text: &str) -> Query {
        self.ready(self.vocabulary.look_up(text))
    }

    fn ready(&self, encoded: EncodedText) -> Query {
        let mut tokens = Vec::with_capacity(encoded.words.len());
        self.vocabulary.tokens(&encoded.words, &mut tokens);
        self.prefixes.order(&mut tokens);
        Query {
            signature: Signature::new(&tokens),
            known: known(&tokens),
            encoded,
            tokens,
            ordered: self.ordered,
        }
    }

    /// Updates a query for the texts inserted since it was prepared.
    fn renew(&self, query: &mut Query) {
        if query.ordered != self.ordered || (query.known as usize) < query.tokens.len() {
            let mut encoded = std::mem::take(&mut query.encoded);
            self.vocabulary.look_up_again(&mut encoded);
            *query = self.ready(encoded);
        }
    }

    /// Inserts a text whose query is up to date.
    fn insert(&mut self, query: Query) {
        let Query {
            mut encoded,
            mut tokens,
            mut signature,
            known,
            ..
        } = query;
        if (known as usize) < tokens.len() {
            self.vocabulary.add(&mut encoded);
            self.vocabulary.add_tokens(&encoded.words, &mut tokens);
            signature = Signature::new(&tokens);
        }
        let position = self.entries.len() as u32;
        self.entries.push(IndexedText {
            signature,
            start: u32::try_from(self.words.len()).expect("fewer than 2^32 words"),
            length: encoded.words.len() as u32,
        });
        self.words.extend_from_slice(&encoded.words);
        self.prefixes.push(position, &mut tokens, self.vocabulary.size());
        self.recent.add(self.prefixes.first(&tokens));
        // Which words are rare changes with the texts. Sorting again whenever their number has
        // doubled costs a constant per text.
        if self.entries.len() >= 2 * self.ordered.max(16) {
            self.ordered = self.entries.len();
            // Others of their tokens are the rarest now.
            self.recent.add_all();
            let (vocabulary, entries, words) = (&self.vocabulary, &self.entries, &self.words);
            self.prefixes.renew(position + 1, |position, tokens| {
                vocabulary.tokens(words_of(entries[position as usize], words), tokens);
            });
        }
    }

    fn words_of(&self, entry: IndexedText) -> &[u32] {
        words_of(entry, &self.words)
    }
}

fn words_of(entry: IndexedText, words: &[u32]) -> &[u32] {
    &words[entry.start as usize..][..entry.length as usize]
}
