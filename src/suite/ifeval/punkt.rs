//! What the Punkt sentence splitter knows of a language (Kiss and Strunk 2006, "Unsupervised
//! Multilingual Sentence Boundary Detection"): lists, by which [`super::sentences`] decides.
//! [`super::punkt_files`] reads those of NLTK.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::english;

/// How a word was seen in the texts that the parameters come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// In lower case, and in upper case at most where a sentence may begin.
    Lower,
    /// In lower case only, and so at the beginning of a sentence.
    LowerFirst,
    /// In lower case, and in upper case within sentences.
    Both,
}

/// The parameters. All words are in lower case.
#[derive(Clone, Default)]
pub struct PunktParameters {
    /// Abbreviations without their last period.
    pub(super) abbreviations: HashSet<String>,
    /// Words, each with those before which its period ends no sentence.
    pub(super) collocations: HashMap<String, HashSet<String>>,
    /// Words that often begin sentences.
    pub(super) starters: HashSet<String>,
    /// Words that were seen in lower case.
    pub(super) words: HashMap<String, Seen>,
}

impl PunktParameters {
    /// Returns ewe's own parameters of English: abbreviations and sentence starters written by hand
    /// ([`english`]), no collocations, and nothing about the case of words but that sentence
    /// starters and the letters of labels are in lower case too.
    ///
    /// They are not those of the published implementation, so the number of sentences in a text may
    /// differ slightly from its own; with those of [`read`](Self::read) it is the same.
    pub fn english() -> PunktParameters {
        let split = |lists: &[&str]| -> HashSet<String> {
            let words = lists.iter().flat_map(|words| words.split_whitespace());
            words.map(str::to_owned).collect()
        };
        let mut abbreviations = split(english::ABBREVIATIONS);
        abbreviations.extend(english::INITIALS.chars().map(String::from));
        let starters = split(english::STARTERS);
        let lower = starters.iter().filter(|word| *word != english::ALWAYS_CAPITAL);
        let labels = english::LABELS.chars().map(String::from);
        PunktParameters {
            abbreviations,
            collocations: HashMap::new(),
            words: lower
                .map(|word| (word.clone(), Seen::Lower))
                .chain(labels.map(|letter| (letter, Seen::Both)))
                .collect(),
            starters,
        }
    }

    /// Whether a word without its last period is an abbreviation.
    pub fn is_abbreviation(&self, word: &str) -> bool {
        self.abbreviations.contains(word)
    }

    /// Whether the period of `word` ends no sentence if `next` follows.
    pub fn is_collocation(&self, word: &str, next: &str) -> bool {
        let followers = self.collocations.get(word);
        followers.is_some_and(|followers| followers.contains(next))
    }

    /// Whether a word often begins sentences.
    pub fn is_starter(&self, word: &str) -> bool {
        self.starters.contains(word)
    }

    /// Returns how a word was seen, if in lower case at all.
    pub fn seen(&self, word: &str) -> Option<Seen> {
        self.words.get(word).copied()
    }
}

/// Only the numbers of words: there may be many.
impl fmt::Debug for PunktParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PunktParameters")
            .field("abbreviations", &self.abbreviations.len())
            .field("collocations", &self.collocations.len())
            .field("starters", &self.starters.len())
            .field("words", &self.words.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_lists_are_of_words_in_lower_case_without_a_last_period() {
        let english = PunktParameters::english();
        let words = english.abbreviations.iter().chain(&english.starters);
        let odd: Vec<&String> = words
            .filter(|word| **word != word.to_lowercase() || word.ends_with('.'))
            .collect();
        assert!(odd.is_empty(), "{odd:?}");
        let both: Vec<&String> = english.abbreviations.intersection(&english.starters).collect();
        assert!(both.is_empty(), "{both:?}");
    }

    #[test]
    fn the_own_lists_tell_abbreviations_starters_and_words_apart() {
        let english = PunktParameters::english();
        for word in ["mr", "jan", "u.s", "p.m", "inc", "s"] {
            assert!(english.is_abbreviation(word), "{word}");
        }
        for word in ["a", "no", "e.g", "mass"] {
            assert!(!english.is_abbreviation(word), "{word}");
        }
        assert!(english.is_starter("however") && english.is_starter("i") && !english.is_starter("london"));
        assert_eq!(
            [english.seen("however"), english.seen("b"), english.seen("i")],
            [Some(Seen::Lower), Some(Seen::Both), None]
        );
        assert!(!english.is_collocation("j", "bach"));
    }
}
