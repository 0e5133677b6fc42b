//! Checkers of family `keywords`.

use std::borrow::Cow;

use regex::Regex;

use super::arguments::Arguments;
use super::checker::{Check, Checker, check};
use super::python::{folded, ignoring_case, is_boundary, is_word_elsewhere, with_words_of_python};

pub(super) const CHECKERS: &[Checker] = &[
    Checker {
        id: "keywords:existence",
        arguments: &["keywords"],
        make: existence,
    },
    Checker {
        id: "keywords:frequency",
        arguments: &["keyword", "frequency", "relation"],
        make: frequency,
    },
    Checker {
        id: "keywords:forbidden_words",
        arguments: &["forbidden_words"],
        make: forbidden_words,
    },
    Checker {
        id: "keywords:letter_frequency",
        arguments: &["letter", "let_frequency", "let_relation"],
        make: letter_frequency,
    },
];

/// A keyword, which is a regular expression that ignores case.
struct Keyword {
    pattern: Regex,
    /// Whether it has none of the characters that [`with_words_of_python`] replaces.
    is_replaceable: bool,
}

/// A text in the two forms in which keywords are looked for.
struct Searched<'a> {
    folded: Cow<'a, str>,
    replaced: Cow<'a, str>,
}

impl Keyword {
    fn new(source: &str) -> Result<Keyword, String> {
        Ok(Keyword {
            pattern: ignoring_case(source)
                .map_err(|error| format!("has the keyword `{source}`, which is no pattern: {error}"))?,
            is_replaceable: !source.contains(is_word_elsewhere),
        })
    }

    /// All keywords of a list.
    fn list(sources: Vec<&str>) -> Result<Vec<Keyword>, String> {
        sources.into_iter().map(Keyword::new).collect()
    }

    fn form<'a>(&self, text: &'a Searched<'_>) -> &'a str {
        match self.is_replaceable {
            true => &text.replaced,
            false => &text.folded,
        }
    }
}

impl Searched<'_> {
    fn new(text: &str) -> Searched<'_> {
        let folded = folded(text);
        let replaced = match with_words_of_python(&folded) {
            // The same text, and no copy unless it was folded.
            Cow::Borrowed(_) => folded.clone(),
            Cow::Owned(replaced) => Cow::Owned(replaced),
        };
        Searched { folded, replaced }
    }
}

/// Every keyword is somewhere in the text, also within a word.
fn existence(arguments: &Arguments<'_>) -> Result<Check, String> {
    let keywords = Keyword::list(arguments.texts("keywords")?)?;
    Ok(check(move |text| {
        let text = Searched::new(text);
        let mut keywords = keywords.iter();
        keywords.all(|keyword| keyword.pattern.is_match(keyword.form(&text)))
    }))
}

/// The keyword occurs so often.
fn frequency(arguments: &Arguments<'_>) -> Result<Check, String> {
    let keyword = Keyword::new(arguments.text("keyword")?)?;
    let bound = arguments.number("frequency")?;
    let relation = arguments.relation("relation")?;
    Ok(check(move |text| {
        let text = Searched::new(text);
        relation.holds(keyword.pattern.find_iter(keyword.form(&text)).count(), bound)
    }))
}

/// None of the words occurs as a whole word.
fn forbidden_words(arguments: &Arguments<'_>) -> Result<Check, String> {
    let words = arguments.texts("forbidden_words")?;
    let words: Vec<WholeWord> = words.into_iter().map(WholeWord::new).collect::<Result<_, _>>()?;
    Ok(check(move |text| {
        let text = Searched::new(text);
        !words.iter().any(|word| word.is_in(&text))
    }))
}

/// A word to find between word boundaries.
enum WholeWord {
    /// A pattern with its boundaries.
    Pattern(Keyword),
    /// A plain text with marks and the like, where the boundaries of the `regex` crate are not
    /// those of Python.
    Plain(Regex),
}

impl WholeWord {
    fn new(word: &str) -> Result<WholeWord, String> {
        let is_plain = regex::escape(word) == word;
        Ok(match is_plain && word.contains(is_word_elsewhere) {
            true => WholeWord::Plain(Keyword::new(word)?.pattern),
            false => WholeWord::Pattern(Keyword::new(&format!(r"\b{word}\b"))?),
        })
    }

    fn is_in(&self, text: &Searched<'_>) -> bool {
        let pattern = match self {
            WholeWord::Pattern(keyword) => return keyword.pattern.is_match(keyword.form(text)),
            WholeWord::Plain(pattern) => pattern,
        };
        let text = &*text.folded;
        let mut from = 0;
        while let Some(found) = pattern.find_at(text, from) {
            if is_boundary(text, found.start()) && is_boundary(text, found.end()) {
                return true;
            }
            let first = text[found.start()..].chars().next();
            from = found.start() + first.map_or(1, char::len_utf8);
        }
        false
    }
}

/// The letter occurs so often, in either case.
fn letter_frequency(arguments: &Arguments<'_>) -> Result<Check, String> {
    let letter = arguments.text("letter")?;
    let mut letters = letter.chars().flat_map(char::to_lowercase);
    let (Some(letter), None) = (letters.next(), letters.next()) else {
        return Err(format!("needs one letter as `letter`, not `{letter}`"));
    };
    let bound = arguments.number("let_frequency")?;
    let relation = arguments.relation("let_relation")?;
    Ok(check(move |text| {
        let count = text.to_lowercase().chars().filter(|&c| c == letter).count();
        relation.holds(count, bound)
    }))
}
