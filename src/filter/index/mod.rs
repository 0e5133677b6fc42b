//! The texts admitted so far, in the order in which they were admitted, and the search for the most similar.
//!
//! Every answer is that of comparing with each text by exact ROUGE-L F1, and depends neither on the number of threads
//! nor on how texts are cut into batches. What makes it quick, in the order in which a pair of texts meets it:
//! [`prefix`], lengths and places; [`signature`]; then the bit-parallel LCS, which ends when it cannot suffice:
//! [`search`].
//! [`nearest`] looks below the threshold, where no list of rare words helps, and counts shared words: [`overlap`].

mod nearest;
mod overlap;
mod prefix;
mod search;
mod signature;
#[cfg(test)]
mod tests;

use super::lcs::Pattern;
use super::rouge::{Score, Threshold};
use super::vocabulary::{Encoded, Vocabulary, known};
use overlap::Overlaps;
use prefix::Prefixes;
use rayon::prelude::*;
use search::Search;
use signature::Signature;

/// Texts compared by ROUGE-L F1. A text is named by its position, counted from 0 in the order of admission.
#[derive(Debug)]
pub struct Index {
    threshold: Threshold,
    vocabulary: Vocabulary,
    /// The words of all texts, one text after another.
    words: Vec<u32>,
    entries: Vec<Entry>,
    prefixes: Prefixes,
    /// Of the texts that were there when the nearest were last asked for.
    overlaps: Overlaps,
    /// How many texts there were when tokens were last put in order.
    ordered: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    signature: Signature,
    /// Where its words begin.
    start: u32,
    /// How many there are.
    length: u32,
}

/// A text as a search needs it.
struct Query {
    encoded: Encoded,
    /// Rarest first; unknown ones before all.
    tokens: Vec<u32>,
    signature: Signature,
    /// How many tokens some text has.
    known: u32,
    /// The order of tokens that these are in.
    ordered: usize,
}

/// A text of the index and how similar it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbor {
    /// Its position.
    pub position: usize,
    /// ROUGE-L F1.
    pub score: Score,
}

impl Neighbor {
    /// Whether this one goes before: more similar, or earlier among equals.
    fn precedes(&self, other: &Neighbor) -> bool {
        self.score > other.score || (self.score == other.score && self.position < other.position)
    }
}

/// The better of two.
fn better(a: Option<Neighbor>, b: Option<Neighbor>) -> Option<Neighbor> {
    match (a, b) {
        (Some(a), Some(b)) if b.precedes(&a) => Some(b),
        (Some(a), _) => Some(a),
        (None, b) => b,
    }
}

impl Index {
    /// Holds no text yet; two texts are duplicates above `threshold`.
    pub fn new(threshold: Threshold) -> Index {
        Index {
            threshold,
            vocabulary: Vocabulary::default(),
            words: Vec::new(),
            entries: Vec::new(),
            prefixes: Prefixes::new(threshold),
            overlaps: Overlaps::default(),
            ordered: 0,
        }
    }

    /// How many texts it holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a text behind all others, whatever it is similar to.
    pub fn push(&mut self, text: &str) {
        let query = self.query(text);
        self.insert(query);
    }

    /// Adds all texts behind all others, whatever they are similar to.
    pub fn extend(&mut self, texts: &[impl AsRef<str> + Sync]) {
        let queries: Vec<Query> = texts.par_iter().map(|text| self.query(text.as_ref())).collect();
        for mut query in queries {
            self.renew(&mut query);
            self.insert(query);
        }
    }

    /// Admits those of `texts`, in order, that are no duplicate of a text admitted before, and those that are
    /// `certain` to stay; says for each what it is a duplicate of: the most similar, the earliest among equals.
    pub fn admit(
        &mut self,
        texts: &[impl AsRef<str> + Sync],
        certain: impl Fn(usize) -> bool,
    ) -> Vec<Option<Neighbor>> {
        let before = self.len();
        // In parallel against what was there; then in order against what this batch brings, which is little.
        let searched: Vec<(Query, Option<Neighbor>)> = texts
            .par_iter()
            .map(|text| {
                let query = self.query(text.as_ref());
                let near = Search::run(self, &query, 0..before);
                (query, near)
            })
            .collect();
        let mut verdicts = Vec::with_capacity(texts.len());
        for (i, (mut query, near)) in searched.into_iter().enumerate() {
            self.renew(&mut query);
            let near = better(near, Search::run(self, &query, before..self.len()));
            if near.is_none() || certain(i) {
                self.insert(query);
            }
            verdicts.push(near);
        }
        verdicts
    }

    /// What `text` is a duplicate of among the first `within` texts: the most similar, the earliest among equals.
    pub fn duplicate(&self, text: &str, within: usize) -> Option<Neighbor> {
        Search::run(self, &self.query(text), 0..within.min(self.len()))
    }

    /// The same for many texts, in parallel.
    pub fn duplicates(&self, texts: &[impl AsRef<str> + Sync], within: usize) -> Vec<Option<Neighbor>> {
        texts
            .par_iter()
            .map(|text| self.duplicate(text.as_ref(), within))
            .collect()
    }

    /// How similar two of its texts are.
    pub fn score(&self, a: usize, b: usize) -> Score {
        let [a, b] = [a, b].map(|position| self.words_of(self.entries[position]));
        let mut pattern = Pattern::default();
        pattern.set(a);
        Score {
            lcs: pattern.lcs(b, 0).unwrap_or(0),
            total: (a.len() + b.len()) as u32,
        }
    }

    /// A text made ready to be searched for, or brought in.
    fn query(&self, text: &str) -> Query {
        self.ready(self.vocabulary.look_up(text))
    }

    fn ready(&self, encoded: Encoded) -> Query {
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

    /// Brings a query up to date with texts that came in since it was made.
    fn renew(&self, query: &mut Query) {
        if query.ordered != self.ordered || (query.known as usize) < query.tokens.len() {
            let mut encoded = std::mem::take(&mut query.encoded);
            self.vocabulary.look_up_again(&mut encoded);
            *query = self.ready(encoded);
        }
    }

    /// Brings in a text whose query is up to date.
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
        self.entries.push(Entry {
            signature,
            start: u32::try_from(self.words.len()).expect("fewer than 2^32 words"),
            length: encoded.words.len() as u32,
        });
        self.words.extend_from_slice(&encoded.words);
        self.prefixes.push(position, &mut tokens, self.vocabulary.size());
        // Which words are rare shows with time; doubling keeps the cost of looking again to a constant a text.
        if self.entries.len() >= 2 * self.ordered.max(16) {
            self.ordered = self.entries.len();
            let (vocabulary, entries, words) = (&self.vocabulary, &self.entries, &self.words);
            self.prefixes.renew(position + 1, |position, tokens| {
                vocabulary.tokens(words_of(entries[position as usize], words), tokens);
            });
        }
    }

    fn words_of(&self, entry: Entry) -> &[u32] {
        words_of(entry, &self.words)
    }
}

fn words_of(entry: Entry, words: &[u32]) -> &[u32] {
    &words[entry.start as usize..][..entry.length as usize]
}
