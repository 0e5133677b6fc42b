//! Checkers of family `length_constraints`.

use std::sync::LazyLock;

use regex::Regex;

use super::arguments::Arguments;
use super::checker::{Check, Checker, check, sentence_check};
use super::python::{WORD, is_space, space, strip};
use super::sentences::sentences;

pub(super) const CHECKERS: &[Checker] = &[
    Checker {
        id: "length_constraints:number_sentences",
        arguments: &["num_sentences", "relation"],
        make: number_sentences,
    },
    Checker {
        id: "length_constraints:number_paragraphs",
        arguments: &["num_paragraphs"],
        make: number_paragraphs,
    },
    Checker {
        id: "length_constraints:number_words",
        arguments: &["num_words", "relation"],
        make: number_words,
    },
    Checker {
        id: "length_constraints:nth_paragraph_first_word",
        arguments: &["num_paragraphs", "nth_paragraph", "first_word"],
        make: nth_paragraph_first_word,
    },
];

fn number_sentences(arguments: &Arguments<'_>) -> Result<Check, String> {
    let bound = arguments.number("num_sentences")?;
    let relation = arguments.relation("relation")?;
    Ok(sentence_check(move |text, punkt| {
        relation.holds(sentences(text, punkt).len(), bound)
    }))
}

/// So many paragraphs between dividers `***`. Only the first and the last may be empty, and do not
/// count then.
fn number_paragraphs(arguments: &Arguments<'_>) -> Result<Check, String> {
    static DIVIDER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(concat!(space!(), r"?\*\*\*", space!(), "?")).expect("a pattern"));
    let wanted = arguments.number("num_paragraphs")?;
    Ok(check(move |text| {
        let paragraphs: Vec<&str> = DIVIDER.split(text).collect();
        let mut count = paragraphs.len();
        for (index, paragraph) in paragraphs.iter().enumerate() {
            if strip(paragraph).is_empty() {
                if index != 0 && index != paragraphs.len() - 1 {
                    return false;
                }
                count -= 1;
            }
        }
        count as u64 == wanted
    }))
}

fn number_words(arguments: &Arguments<'_>) -> Result<Check, String> {
    static WORDS: LazyLock<Regex> = LazyLock::new(|| Regex::new(WORD).expect("a pattern"));
    let bound = arguments.number("num_words")?;
    let relation = arguments.relation("relation")?;
    Ok(check(move |text| {
        relation.holds(WORDS.find_iter(text).count(), bound)
    }))
}

/// So many paragraphs between empty lines, and the nth begins with the word. Blank paragraphs are
/// not counted, but have a number.
fn nth_paragraph_first_word(arguments: &Arguments<'_>) -> Result<Check, String> {
    let wanted = arguments.number("num_paragraphs")?;
    let nth = arguments.number("nth_paragraph")?;
    if nth == 0 || nth > wanted {
        return Err(format!(
            "needs 1 to `num_paragraphs` (here {wanted}) as `nth_paragraph`, not {nth}"
        ));
    }
    let word = arguments.text("first_word")?.to_lowercase();
    Ok(check(move |text| {
        let paragraphs: Vec<&str> = text.split("\n\n").map(strip).collect();
        let count = paragraphs.iter().filter(|text| !text.is_empty()).count() as u64;
        let paragraph = match nth <= count {
            true => paragraphs[nth as usize - 1],
            false => "",
        };
        count == wanted && !paragraph.is_empty() && first_word(paragraph) == word
    }))
}

/// The first word of a text that begins with it, without quotes before and punctuation after it.
fn first_word(text: &str) -> String {
    let word = text.split(is_space).next().unwrap_or_default();
    let word = word.trim_start_matches('\'').trim_start_matches('"');
    let end = word.find(['.', ',', '?', '!', '\'', '"']).unwrap_or(word.len());
    word[..end].chars().flat_map(char::to_lowercase).collect()
}
