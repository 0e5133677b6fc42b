//! The texts admitted so far, in the order in which they were admitted, and the search for the most similar.

use super::rouge::{Pattern, Score, Threshold, Vocabulary};
use rayon::prelude::*;

/// Texts, each with the caller's key, compared by exact ROUGE-L.
///
/// A search looks at all texts whose length allows a better score, in parallel; its result does not depend on the
/// number of threads.
#[derive(Debug, Default)]
pub struct Index {
    vocabulary: Vocabulary,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    key: i64,
    words: Box<[u32]>,
}

/// A text of the index and how similar it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbor {
    /// The caller's key.
    pub key: i64,
    /// ROUGE-L F1.
    pub score: Score,
}

impl Index {
    /// How many texts it holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a text behind all others.
    pub fn push(&mut self, key: i64, text: &str) {
        let words = self.vocabulary.encode(text).into();
        self.entries.push(Entry { key, words });
    }

    /// The `count` texts most similar to `text` among the first `within`, best first, earlier first among equals.
    /// Texts that have no word in common are left out.
    pub fn nearest(&self, text: &str, within: usize, count: usize) -> Vec<Neighbor> {
        let pattern = Pattern::new(&self.vocabulary.look_up(text));
        let better = |a: &(usize, Score), b: &(usize, Score)| b.1.cmp(&a.1).then(a.0.cmp(&b.0));
        let mut found = self.entries[..within.min(self.entries.len())]
            .par_iter()
            .enumerate()
            .with_min_len(256)
            .fold(Vec::new, |mut best: Vec<(usize, Score)>, (i, entry)| {
                // A text too short or too long to beat the worst kept need not be compared.
                if best.len() == count
                    && best
                        .last()
                        .is_some_and(|worst| pattern.bound(entry.words.len()) <= worst.1)
                {
                    return best;
                }
                let found = (i, pattern.score(&entry.words));
                if found.1.lcs > 0 {
                    let at = best.partition_point(|kept| better(kept, &found).is_le());
                    best.insert(at, found);
                    best.truncate(count);
                }
                best
            })
            .reduce(Vec::new, |mut a, b| {
                a.extend(b);
                a.sort_by(better);
                a.truncate(count);
                a
            });
        found.truncate(count);
        found
            .into_iter()
            .map(|(i, score)| Neighbor {
                key: self.entries[i].key,
                score,
            })
            .collect()
    }

    /// The most similar of the first `within` texts when it is above `threshold`.
    pub fn duplicate(&self, text: &str, within: usize, threshold: Threshold) -> Option<Neighbor> {
        self.nearest(text, within, 1)
            .into_iter()
            .find(|nearest| threshold.is_exceeded_by(nearest.score))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nearest_agree_with_comparing_all(
            texts in prop::collection::vec("[a-d]( [a-d]){0,12}", 0..600),
            query in "[a-d]( [a-d]){0,12}",
            count in 1usize..12,
        ) {
            let mut index = Index::default();
            for (key, text) in texts.iter().enumerate() {
                index.push(key as i64, text);
            }
            let mut vocabulary = Vocabulary::default();
            let pattern = Pattern::new(&vocabulary.encode(&query));
            let mut all: Vec<_> = texts
                .iter()
                .enumerate()
                .map(|(key, text)| Neighbor { key: key as i64, score: pattern.score(&vocabulary.encode(text)) })
                .filter(|n| n.score.lcs > 0)
                .collect();
            all.sort_by(|a, b| b.score.cmp(&a.score).then(a.key.cmp(&b.key)));
            all.truncate(count);
            let found = index.nearest(&query, texts.len(), count);
            prop_assert_eq!(found, all);
        }
    }

    #[test]
    fn only_the_first_texts_count_when_asked() {
        let mut index = Index::default();
        index.push(1, "write a poem about the sea");
        index.push(2, "explain how rain forms");
        assert_eq!(
            index.duplicate("explain how rain forms", 1, Threshold::SELF_INSTRUCT),
            None
        );
        assert_eq!(
            index
                .duplicate("explain how rain forms", 2, Threshold::SELF_INSTRUCT)
                .unwrap()
                .key,
            2
        );
    }
}
