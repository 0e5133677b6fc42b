//! Words as numbers.

use super::lcs::Pattern;
use super::words::each_unit;
use std::collections::HashMap;

type Map<K> = HashMap<K, u32, foldhash::fast::RandomState>;

/// Gives each distinct word a number, so that texts are compared as numbers; and a number of its own to each second,
/// third … occurrence of a word within one text, so that multisets of words become sets of *tokens*. The first
/// occurrence has the number of the word.
#[derive(Debug, Default)]
pub struct Vocabulary {
    words: Map<Box<str>>,
    /// (word, how many times it came before) → token.
    repeats: Map<(u32, u32)>,
}

/// The words of a text as numbers.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// In order; words that have no number yet are [`Pattern::UNKNOWN`].
    pub words: Vec<u32>,
    /// Where unknown words stand, and which they are.
    pub unknown: Vec<(u32, Box<str>)>,
}

impl Vocabulary {
    /// How many numbers were given.
    pub fn size(&self) -> usize {
        self.words.len() + self.repeats.len()
    }

    /// The numbers of the words of `text`, or of its characters where it has no word.
    pub fn look_up(&self, text: &str) -> Encoded {
        let mut encoded = Encoded::default();
        each_unit(text, |word| {
            let number = self.words.get(word).copied().unwrap_or_else(|| {
                encoded.unknown.push((encoded.words.len() as u32, word.into()));
                Pattern::UNKNOWN
            });
            encoded.words.push(number);
        });
        encoded
    }

    /// Fills in words that got their numbers since `encoded` was looked up.
    pub fn look_up_again(&self, encoded: &mut Encoded) {
        let Encoded { words, unknown } = encoded;
        unknown.retain(|(place, word)| {
            let number = self.words.get(word).copied();
            if let Some(number) = number {
                words[*place as usize] = number;
            }
            number.is_none()
        });
    }

    /// Numbers the words that are unknown.
    pub fn add(&mut self, encoded: &mut Encoded) {
        for (place, word) in encoded.unknown.drain(..) {
            let next = (self.words.len() + self.repeats.len()) as u32;
            encoded.words[place as usize] = *self.words.entry(word).or_insert(next);
        }
    }

    /// The tokens of a text whose words are all known, in no order; new repeats are numbered.
    pub fn add_tokens(&mut self, words: &[u32], tokens: &mut Vec<u32>) {
        let start = self.words.len() as u32;
        let repeats = &mut self.repeats;
        occurrences(words, tokens, |word, before| {
            let next = start + repeats.len() as u32;
            *repeats.entry((word, before)).or_insert(next)
        });
    }

    /// The tokens of a text, in no order; what no text of ours has is [`Pattern::UNKNOWN`].
    pub fn tokens(&self, words: &[u32], tokens: &mut Vec<u32>) {
        occurrences(words, tokens, |word, before| {
            self.repeats
                .get(&(word, before))
                .copied()
                .unwrap_or(Pattern::UNKNOWN)
        });
    }
}

/// How many of the tokens some text has.
pub fn known(tokens: &[u32]) -> u32 {
    tokens.iter().filter(|&&token| token != Pattern::UNKNOWN).count() as u32
}

/// Puts a token for each word into `tokens`: the word itself where it stands first, what `repeat` says elsewhere.
fn occurrences(words: &[u32], tokens: &mut Vec<u32>, mut repeat: impl FnMut(u32, u32) -> u32) {
    tokens.clear();
    tokens.extend_from_slice(words);
    tokens.sort_unstable();
    let mut before = 0;
    for i in 1..tokens.len() {
        // Tokens up to i − 1 are replaced already, so the word is compared with the last one that was.
        let word = tokens[i];
        let first = i - 1 - before as usize;
        if word != Pattern::UNKNOWN && tokens[first] == word {
            before += 1;
            tokens[i] = repeat(word, before);
        } else {
            before = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_occurrence_is_a_token() {
        let mut vocabulary = Vocabulary::default();
        let mut text = vocabulary.look_up("a b a c a b");
        vocabulary.add(&mut text);
        assert_eq!(text.words, [0, 1, 0, 2, 0, 1]);
        let mut tokens = Vec::new();
        vocabulary.add_tokens(&text.words, &mut tokens);
        assert_eq!(tokens, [0, 3, 4, 1, 5, 2]);
        let mut other = vocabulary.look_up("b b b d");
        vocabulary.look_up_again(&mut other);
        assert_eq!(other.unknown, [(3, "d".into())]);
        vocabulary.tokens(&other.words, &mut tokens);
        assert_eq!(tokens, [1, 5, Pattern::UNKNOWN, Pattern::UNKNOWN]);
        assert_eq!(vocabulary.size(), 6);
    }
}
