//! Words as Google's `rouge_score` splits and stems them, and answers in the normal form of an
//! exact match.

use super::porter::stem;

/// Words of a text that are compared. Of longer texts the rest is counted only, so that an answer
/// of any length is scored in bounded time; its score then is a lower bound.
pub const MOST_COMPARED: usize = 8192;

/// Words of at most so many characters are not stemmed.
const UNSTEMMED: usize = 3;

/// The words of a text, for ROUGE.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StemmedWords {
    /// The first [`MOST_COMPARED`] words: maximal runs of `[a-z0-9]` of the text in lower case,
    /// stemmed if they have more than three characters.
    pub compared: Vec<String>,
    /// The number of all words.
    pub count: usize,
}

impl StemmedWords {
    /// Splits a text as `rouge_score` does with `use_stemmer=True`.
    pub fn of(text: &str) -> StemmedWords {
        let lower = text.to_lowercase();
        let mut words = StemmedWords::default();
        for word in lower.split(|c: char| !matches!(c, 'a'..='z' | '0'..='9')) {
            if word.is_empty() {
                continue;
            }
            words.count += 1;
            if words.count <= MOST_COMPARED {
                words.compared.push(match word.len() {
                    ..=UNSTEMMED => word.to_owned(),
                    _ => stem(word),
                });
            }
        }
        words
    }

    /// Whether some words are only counted.
    pub fn is_cut(&self) -> bool {
        self.count > self.compared.len()
    }
}

/// Returns a text in the form in which Tk-Instruct compares answers exactly: in lower case, without
/// ASCII punctuation, with single spaces.
pub fn normal_form(text: &str) -> String {
    let mut plain = text.to_lowercase();
    plain.retain(|c| !c.is_ascii_punctuation());
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The number of words of a text: runs without white space.
pub fn count_words(text: &str) -> usize {
    text.split_whitespace().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_stemmed_above_three_letters() {
        let words = StemmedWords::of("The cats' was-running, Été 3.5 TIES ties\u{212a}");
        assert_eq!(
            words.compared,
            ["the", "cat", "was", "run", "t", "3", "5", "tie", "tiesk"]
        );
        assert_eq!(words.count, 9);
        assert!(!words.is_cut());
    }

    #[test]
    fn long_texts_are_counted_to_the_end() {
        let words = StemmedWords::of(&"word ".repeat(MOST_COMPARED + 5));
        assert_eq!(
            (words.compared.len(), words.count),
            (MOST_COMPARED, MOST_COMPARED + 5)
        );
        assert!(words.is_cut());
    }

    #[test]
    fn case_punctuation_and_spaces_do_not_count() {
        assert_eq!(normal_form("  Yes, it's\n«so».  "), "yes its «so»");
        assert_eq!(normal_form("..."), "");
        assert_eq!(count_words(" a  b\nc "), 3);
    }
}
