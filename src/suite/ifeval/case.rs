//! Checkers of family `change_case`.

use super::arguments::Arguments;
use super::checker::{Check, Checker, check, sentence_check};
use super::detect;
use super::python::{is_lower, is_space, is_upper};
use super::sentences::sentences;
use super::words::words;

pub(super) const CHECKERS: &[Checker] = &[
    Checker {
        id: "change_case:capital_word_frequency",
        arguments: &["capital_frequency", "capital_relation"],
        make: capital_word_frequency,
    },
    Checker {
        id: "change_case:english_capital",
        arguments: &[],
        make: english_capital,
    },
    Checker {
        id: "change_case:english_lowercase",
        arguments: &[],
        make: english_lowercase,
    },
];

/// So many words in capitals, as NLTK splits words: `DON'T` is two.
fn capital_word_frequency(arguments: &Arguments<'_>) -> Result<Check, String> {
    let bound = arguments.number("capital_frequency")?;
    let relation = arguments.relation("capital_relation")?;
    Ok(sentence_check(move |text, punkt| {
        let capitals = |sentence: &String| {
            let words = words(sentence);
            words.split(is_space).filter(|word| is_upper(word)).count()
        };
        relation.holds(sentences(text, punkt).iter().map(capitals).sum(), bound)
    }))
}

/// English, and no letter in lower case.
fn english_capital(_: &Arguments<'_>) -> Result<Check, String> {
    Ok(check(|text| is_upper(text) && is_english(text)))
}

/// English, and no letter in upper case.
fn english_lowercase(_: &Arguments<'_>) -> Result<Check, String> {
    Ok(check(|text| is_lower(text) && is_english(text)))
}

/// A text whose language cannot be told passes, as published.
fn is_english(text: &str) -> bool {
    detect::language(text).is_none_or(|found| found == "en")
}
