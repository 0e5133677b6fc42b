//! The words of a text, with their places and what they are.

use unicode_segmentation::UnicodeSegmentation;

use crate::filter::elimination::STOP_WORDS;
use crate::fold::folded;

/// What a word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It says nothing by itself.
    Function,
    /// It has a digit, or is the word of a number.
    Number,
    /// It has a capital within a sentence.
    Name,
    /// Any other.
    Content,
}

/// A word of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Where it begins, in bytes.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// As it is written.
    pub shown: String,
    /// What it is compared by: in lower case, without endings.
    pub stem: String,
    /// What it is.
    pub kind: Kind,
}

/// Numbers that are written as words. "One" is mostly none.
const NUMBERS: [(&str, &str); 19] = [
    ("zero", "0"),
    ("two", "2"),
    ("three", "3"),
    ("four", "4"),
    ("five", "5"),
    ("six", "6"),
    ("seven", "7"),
    ("eight", "8"),
    ("nine", "9"),
    ("ten", "10"),
    ("eleven", "11"),
    ("twelve", "12"),
    ("thirteen", "13"),
    ("fifteen", "15"),
    ("twenty", "20"),
    ("thirty", "30"),
    ("fifty", "50"),
    ("hundred", "100"),
    ("thousand", "1000"),
];

/// Words of answers that carry nothing of a passage.
const OF_ANSWERS: [&str; 16] = [
    "yes",
    "no",
    "not",
    "also",
    "however",
    "therefore",
    "thus",
    "both",
    "while",
    "whereas",
    "first",
    "second",
    "one",
    "text",
    "passage",
    "according",
];

/// The words of a text.
pub fn of(text: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut end = 0;
    for (start, shown) in text.unicode_word_indices() {
        let before = &text[end..start];
        let begins = words.is_empty()
            || before.contains(['.', '!', '?', ':', '\n', '"', '“', '•', '。', '|', '#', '*']);
        end = start + shown.len();
        // The number of an item of a list says nothing.
        let is_item = shown.bytes().all(|byte| byte.is_ascii_digit())
            && shown.len() <= 2
            && (words.is_empty() || before.contains('\n'))
            && text[end..].starts_with(['.', ')'])
            && !text[end + 1..].starts_with(|c: char| c.is_ascii_digit());
        if !is_item {
            words.push(word(start, shown, begins));
        }
    }
    words
}

fn word(start: usize, shown: &str, begins: bool) -> Word {
    let lower: String = folded(shown).collect();
    let (kind, stem) = if let Some((_, digits)) = NUMBERS.iter().find(|(word, _)| *word == lower) {
        (Kind::Number, digits.to_string())
    } else if lower.chars().any(|c| c.is_numeric()) {
        (Kind::Number, number(&lower))
    } else if STOP_WORDS.contains(&lower.as_str()) || OF_ANSWERS.contains(&lower.as_str()) {
        (Kind::Function, lower)
    } else {
        let is_name = !begins && shown.chars().next().is_some_and(char::is_uppercase);
        (if is_name { Kind::Name } else { Kind::Content }, stem(&lower))
    };
    Word {
        start,
        end: start + shown.len(),
        shown: shown.to_string(),
        stem,
        kind,
    }
}

/// A number without what may be written or not: commas of thousands, zeros before and after.
fn number(text: &str) -> String {
    let parts: Vec<&str> = text.split(',').collect();
    let thousands = parts.len() > 1
        && (1..=3).contains(&parts[0].len())
        && parts[0].bytes().all(|byte| byte.is_ascii_digit())
        && parts[1..].iter().all(|part| {
            let digits = part.split('.').next().unwrap_or_default();
            digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit())
        });
    let text = if thousands {
        text.replace(',', "")
    } else {
        text.to_string()
    };
    let is_decimal =
        text.matches('.').count() == 1 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let text = match is_decimal {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => text.as_str(),
    };
    let bare = text.trim_start_matches('0');
    match bare.chars().next() {
        Some(c) if c.is_ascii_digit() => bare.to_string(),
        _ if bare.is_empty() => "0".to_string(),
        _ => text.to_string(),
    }
}

/// A word without an ending of English.
fn stem(word: &str) -> String {
    let word = word
        .strip_suffix("'s")
        .or(word.strip_suffix("’s"))
        .unwrap_or(word);
    let rest = |ending: &str, least: usize| word.strip_suffix(ending).filter(|rest| rest.len() >= least);
    let bare = rest("ies", 3)
        .map(|rest| format!("{rest}y"))
        .or_else(|| {
            rest("ing", 3)
                .or(rest("ed", 3))
                .or(rest("es", 4))
                .or(rest("ly", 4))
                .map(str::to_string)
        })
        .or_else(|| {
            rest("s", 3)
                .filter(|rest| !rest.ends_with('s'))
                .map(str::to_string)
        })
        .unwrap_or_else(|| word.to_string());
    // "makes", "making" and "make".
    match bare.strip_suffix('e') {
        Some(rest) if rest.len() >= 3 => rest.to_string(),
        _ => bare,
    }
}

/// The beginning of a long word, by which its forms are alike in most languages.
pub fn beginning(stem: &str) -> Option<String> {
    let letters: Vec<char> = stem.chars().collect();
    let is_word = letters.len() >= 6 && letters.iter().all(|c| c.is_alphabetic());
    is_word.then(|| letters[..6].iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_kinds() {
        let kinds = |text: &str| -> Vec<(String, Kind)> {
            of(text).into_iter().map(|word| (word.stem, word.kind)).collect()
        };
        assert_eq!(
            kinds("The ewes waited 1,200 seconds for Dolly. She slept."),
            [
                ("the".into(), Kind::Function),
                ("ewe".into(), Kind::Content),
                ("wait".into(), Kind::Content),
                ("1200".into(), Kind::Number),
                ("second".into(), Kind::Content),
                ("for".into(), Kind::Function),
                ("dolly".into(), Kind::Name),
                ("she".into(), Kind::Content),
                ("slept".into(), Kind::Content),
            ]
        );
        assert_eq!(of("1. Wool\n2. Milk").len(), 2);
        assert_eq!(of("It was 3.5.")[2].stem, "3.5");
        assert_eq!(
            [number("007"), number("3.50"), number("0.5"), number("0")],
            ["7", "3.5", "0.5", "0"]
        );
        assert_eq!(of("twelve")[0].stem, "12");
        for (one, other) in [("makes", "making"), ("classes", "class"), ("stories", "story")] {
            assert_eq!(stem(one), stem(other), "{one}");
        }
    }
}
