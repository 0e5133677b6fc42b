//! Words as numbers.

use super::lcs::LcsPattern;
use super::words::each_unit;
use std::collections::HashMap;

type Map<K> = HashMap<K, u32, foldhash::fast::RandomState>;

/// Gives each distinct word a number, so that texts are compared as numbers.
///
/// The second, third, … occurrence of a word within one text gets a number of its own, so that
/// multisets of words become sets of *tokens*. The first occurrence has the number of the word.
#[derive(Debug, Default)]
pub struct Vocabulary {
    words: Map<Box<str>>,
    /// The bytes of all words, with what the allocator adds.
    letters: usize,
    /// (word, number of earlier occurrences) → token.
    repeats: Map<(u32, u32)>,
}

/// A text as the numbers of its words.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct EncodedText {
    /// The words in order; those without a number yet are [`LcsPattern::UNKNOWN`].
    pub words: Vec<u32>,
    /// The unknown words with their positions in `words`.
    pub unknown: Vec<(u32, Box<str>)>,
}

impl Vocabulary {
    /// How many numbers there are, of words and of repeats.
    pub fn size(&self) -> usize {
        self.words.len() + self.repeats.len()
    }

    /// About how many bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        /// What an entry takes beside key and value: its control byte, and free room around it.
        const ROOM: usize = 8;
        let word = size_of::<Box<str>>() + size_of::<u32>() + ROOM;
        let repeat = size_of::<(u32, u32)>() + size_of::<u32>() + ROOM;
        self.words.capacity() * word + self.letters + self.repeats.capacity() * repeat
    }

    /// Encodes the words of `text`, or its characters if it has no word.
    pub fn look_up(&self, text: &str) -> EncodedText {
        let mut encoded = EncodedText::default();
        each_unit(text, |word| {
            let number = self.words.get(word).copied().unwrap_or_else(|| {
                encoded.unknown.push((encoded.words.len() as u32, word.into()));
                LcsPattern::UNKNOWN
            });
            encoded.words.push(number);
        });
        encoded
    }

    /// Fills in words that got a number after `encoded` was looked up.
    pub fn look_up_again(&self, encoded: &mut EncodedText) {
        let EncodedText { words, unknown } = encoded;
        unknown.retain(|(place, word)| {
            let number = self.words.get(word).copied();
            if let Some(number) = number {
                words[*place as usize] = number;
            }
            number.is_none()
        });
    }

    /// Gives the unknown words of `encoded` numbers.
    pub fn add(&mut self, encoded: &mut EncodedText) {
        for (place, word) in encoded.unknown.drain(..) {
            let next = (self.words.len() + self.repeats.len()) as u32;
            let letters = &mut self.letters;
            encoded.words[place as usize] = *self.words.entry(word).or_insert_with_key(|word| {
                *letters += word.len().max(16) + 16;
                next
            });
        }
    }

    /// Writes the tokens of a text with known words into `tokens`, in any order. New repeats get
    /// numbers.
    pub fn add_tokens(&mut self, words: &[u32], tokens: &mut Vec<u32>) {
        let start = self.words.len() as u32;
        let repeats = &mut self.repeats;
        occurrences(words, tokens, |word, before| {
            let next = start + repeats.len() as u32;
            *repeats.entry((word, before)).or_insert(next)
        });
    }

    /// Writes the tokens of a text into `tokens`, in any order. Those that no indexed text has are
    /// [`LcsPattern::UNKNOWN`].
    pub fn tokens(&self, words: &[u32], tokens: &mut Vec<u32>) {
        occurrences(words, tokens, |word, before| {
            self.repeats
                .get(&(word, before))
                .copied()
                .unwrap_or(LcsPattern::UNKNOWN)
        });
    }
}

/// Counts the tokens that some indexed text has.
pub fn known(tokens: &[u32]) -> u32 {
    tokens
        .iter()
        .filter(|&&token| token != LcsPattern::UNKNOWN)
        .count() as u32
}

/// Writes one token per word into `tokens`: the word itself at its first occurrence, and
/// `repeat(word, number of earlier occurrences)` at later ones.
fn occurrences(words: &[u32], tokens: &mut Vec<u32>, mut repeat: impl FnMut(u32, u32) -> u32) {
    tokens.clear();
    tokens.extend_from_slice(words);
    tokens.sort_unstable();
    let mut before = 0;
    for i in 1..tokens.len() {
        // Tokens up to i − 1 are replaced already, so compare with the first of this word's run.
        let word = tokens[i];
        let first = i - 1 - before as usize;
        if word != LcsPattern::UNKNOWN && tokens[first] == word {
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
        assert_eq!(tokens, [1, 5, LcsPattern::UNKNOWN, LcsPattern::UNKNOWN]);
        assert_eq!(vocabulary.size(), 6);
    }
}
