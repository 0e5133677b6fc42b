//! ROUGE-L F1 between two texts (Lin 2004), exact.
//!
//! The decision is the one of Google's `rouge_score` without stemming: on ASCII text the tokens are the same
//! (maximal runs of `[a-z0-9]` after lower-casing), and F1 = 2·LCS/(m+n) is compared as a fraction of integers,
//! never as a rounded number. Text in other scripts is tokenised too, where `rouge_score` drops it.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::str::FromStr;

/// Splits `text` into lower-cased words, in order.
///
/// A word is a maximal run of letters and digits. Han, kana, Thai and other scripts written without spaces give a
/// token a character, since a whole sentence would be a single word otherwise.
pub fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() {
            if is_unspaced(c) {
                flush(&mut word, &mut words);
                words.push(c.to_string());
            } else {
                word.push(c);
            }
        } else {
            flush(&mut word, &mut words);
        }
    }
    flush(&mut word, &mut words);
    words
}

fn flush(word: &mut String, words: &mut Vec<String>) {
    if !word.is_empty() {
        words.push(std::mem::take(word));
    }
}

/// Whether `c` belongs to a script that puts no spaces between words.
fn is_unspaced(c: char) -> bool {
    matches!(c as u32,
        0x0E00..=0x0EFF // Thai, Lao
        | 0x1000..=0x109F // Myanmar
        | 0x1780..=0x17FF // Khmer
        | 0x3040..=0x30FF // kana
        | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x3FFFF // Han
    )
}

/// Gives each distinct word a number, so that texts are compared as numbers.
#[derive(Debug, Default)]
pub struct Vocabulary {
    ids: HashMap<String, u32>,
}

impl Vocabulary {
    /// The numbers of the words of `text`, new words numbered as they come.
    pub fn encode(&mut self, text: &str) -> Vec<u32> {
        words(text)
            .into_iter()
            .map(|word| {
                let next = self.ids.len() as u32;
                *self.ids.entry(word).or_insert(next)
            })
            .collect()
    }

    /// The numbers of the words of `text`; words never encoded before share a number that no encoded text has.
    pub fn look_up(&self, text: &str) -> Vec<u32> {
        words(text)
            .iter()
            .map(|word| self.ids.get(word).copied().unwrap_or(u32::MAX))
            .collect()
    }
}

/// ROUGE-L F1 as a fraction: 2·`lcs` / `total`, `total` the number of words of both texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Score {
    /// Length of the longest common subsequence, in words.
    pub lcs: u32,
    /// Words of the one text plus words of the other.
    pub total: u32,
}

impl Score {
    /// F1 in [0, 1]; 0 for two empty texts, as `rouge_score` has it.
    pub fn f1(self) -> f64 {
        if self.total == 0 {
            0.0
        } else {
            2.0 * f64::from(self.lcs) / f64::from(self.total)
        }
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        let cross = |a: &Score, b: &Score| u64::from(a.lcs) * u64::from(b.total.max(1));
        cross(self, other).cmp(&cross(other, self))
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A similarity in (0, 1], kept as the decimal fraction that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    numerator: u64,
    denominator: u64,
}

impl Threshold {
    /// Self-Instruct's 0.7.
    pub const SELF_INSTRUCT: Threshold = Threshold {
        numerator: 7,
        denominator: 10,
    };

    /// Whether `score` is above the threshold; equal is not above.
    pub fn is_exceeded_by(self, score: Score) -> bool {
        2 * u64::from(score.lcs) * self.denominator > self.numerator * u64::from(score.total)
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("threshold '{text}' is not a number above 0 and at most 1, like 0.7");
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        if decimals.len() > 9 || !decimals.bytes().all(|b| b.is_ascii_digit()) {
            return Err(error());
        }
        let denominator = 10u64.pow(decimals.len() as u32);
        let whole: u64 = if whole.is_empty() {
            0
        } else {
            whole.parse().map_err(|_| error())?
        };
        let decimals: u64 = if decimals.is_empty() {
            0
        } else {
            decimals.parse().map_err(|_| error())?
        };
        let numerator = whole
            .checked_mul(denominator)
            .map(|n| n + decimals)
            .ok_or_else(error)?;
        if numerator == 0 || numerator > denominator {
            return Err(error());
        }
        Ok(Threshold {
            numerator,
            denominator,
        })
    }
}

impl std::fmt::Display for Threshold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.numerator as f64 / self.denominator as f64)
    }
}

/// One text made ready to be compared with many: where each of its words stands, as bits.
///
/// The longest common subsequence is Hyyrö's bit-parallel recurrence (Hyyrö 2004, "Bit-parallel LCS-length
/// computation revisited"): V ← (V + (V ∧ M)) ∨ (V ∧ ¬M), 64 words of the pattern a step.
pub struct Pattern {
    length: u32,
    blocks: usize,
    masks: HashMap<u32, Box<[u64]>>,
}

impl Pattern {
    /// Prepares the words of `text`, as [`Vocabulary::encode`] numbers them.
    pub fn new(text: &[u32]) -> Self {
        let blocks = text.len().div_ceil(64);
        let mut masks: HashMap<u32, Box<[u64]>> = HashMap::with_capacity(text.len());
        for (i, &word) in text.iter().enumerate() {
            masks.entry(word).or_insert_with(|| vec![0; blocks].into())[i / 64] |= 1 << (i % 64);
        }
        Pattern {
            length: text.len() as u32,
            blocks,
            masks,
        }
    }

    /// ROUGE-L F1 between the pattern and `text`.
    pub fn score(&self, text: &[u32]) -> Score {
        Score {
            lcs: self.lcs(text),
            total: self.length + text.len() as u32,
        }
    }

    /// The best score that a text of `length` words could reach.
    pub fn bound(&self, length: usize) -> Score {
        Score {
            lcs: self.length.min(length as u32),
            total: self.length + length as u32,
        }
    }

    fn lcs(&self, text: &[u32]) -> u32 {
        if self.blocks <= 1 {
            let mut v = u64::MAX;
            for word in text {
                if let Some(mask) = self.masks.get(word) {
                    let u = v & mask[0];
                    v = v.wrapping_add(u) | (v & !mask[0]);
                }
            }
            return v.count_zeros();
        }
        let mut v = vec![u64::MAX; self.blocks];
        for word in text {
            let Some(mask) = self.masks.get(word) else {
                continue;
            };
            let mut carry = false;
            for (v, &mask) in v.iter_mut().zip(mask) {
                let u = *v & mask;
                let (sum, first) = v.overflowing_add(u);
                let (sum, second) = sum.overflowing_add(u64::from(carry));
                carry = first || second;
                *v = sum | (*v & !mask);
            }
        }
        v.iter().map(|v| v.count_zeros()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn score(a: &str, b: &str) -> Score {
        let mut vocabulary = Vocabulary::default();
        let (a, b) = (vocabulary.encode(a), vocabulary.encode(b));
        Pattern::new(&a).score(&b)
    }

    /// The textbook table.
    fn brute(a: &[u32], b: &[u32]) -> u32 {
        let mut table = vec![vec![0u32; b.len() + 1]; a.len() + 1];
        for i in 0..a.len() {
            for j in 0..b.len() {
                table[i + 1][j + 1] = if a[i] == b[j] {
                    table[i][j] + 1
                } else {
                    table[i][j + 1].max(table[i + 1][j])
                };
            }
        }
        table[a.len()][b.len()]
    }

    #[test]
    fn words_are_those_of_rouge_score_on_ascii() {
        assert_eq!(
            words("Don't panic: it's 3.5 o'clock_now!"),
            ["don", "t", "panic", "it", "s", "3", "5", "o", "clock", "now"]
        );
        assert_eq!(words("--"), Vec::<String>::new());
    }

    #[test]
    fn other_scripts_have_words_too() {
        assert_eq!(words("Über Größe"), ["über", "größe"]);
        assert_eq!(
            words("写一首诗 about 海"),
            ["写", "一", "首", "诗", "about", "海"]
        );
    }

    #[test]
    fn a_tie_at_the_threshold_stays() {
        // 7 of 10 words in common on both sides: F1 is exactly 0.7.
        let tie = score("a b c d e f g h i j", "a b c d e f g x y z");
        assert_eq!(tie, Score { lcs: 7, total: 20 });
        assert!(!Threshold::SELF_INSTRUCT.is_exceeded_by(tie));
        assert!(Threshold::SELF_INSTRUCT.is_exceeded_by(Score { lcs: 15, total: 42 }));
    }

    #[test]
    fn thresholds_are_read_exactly() {
        assert_eq!("0.7".parse(), Ok(Threshold::SELF_INSTRUCT));
        assert!("1".parse::<Threshold>().is_ok());
        for bad in ["0", "1.01", "-0.5", "seven", "", ".", "0.0", "1e-1"] {
            assert!(bad.parse::<Threshold>().is_err(), "{bad}");
        }
    }

    #[test]
    fn empty_texts_have_nothing_in_common() {
        assert_eq!(score("", "").f1(), 0.0);
        assert_eq!(score("", "a").f1(), 0.0);
        assert!(score("", "") < score("a", "a"));
    }

    proptest! {
        #[test]
        fn bits_agree_with_the_table(a in prop::collection::vec(0u32..12, 0..200), b in prop::collection::vec(0u32..12, 0..200)) {
            prop_assert_eq!(Pattern::new(&a).score(&b), Score { lcs: brute(&a, &b), total: (a.len() + b.len()) as u32 });
        }

        #[test]
        fn tokeniser_never_panics_and_gives_lower_case_words(text in "\\PC{0,80}") {
            for word in words(&text) {
                prop_assert!(!word.is_empty() && word.chars().all(char::is_alphanumeric));
            }
        }
    }
}
