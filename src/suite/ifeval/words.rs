//! Words of a sentence as NLTK splits them: the Penn Treebank's rules in the form of NLTK 3.9.1,
//! `NLTKWordTokenizer`. Rules apply one after another, and each puts spaces around what it finds.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Match, Regex};

use super::python::{is_boundary, is_space, is_word, space};

/// A rule: what is found, and what takes its place.
type Substitution = (Regex, &'static str);

/// Opening quotes.
const OPENING: &[(&str, &str)] = &[
    ("([«“‘„]|`+)", " $1 "),
    (r#"^""#, "``"),
    ("(``)", " $1 "),
    (r#"([ (\[{<])("|'{2})"#, "$1 `` "),
];

/// Punctuation.
const PUNCTUATION: &[(&str, &str)] = &[
    (
        concat!(r#"([^.])(\.)([\])}>"'»”’ ]*)"#, space!(), "*$"),
        "$1 $2 $3 ",
    ),
    (r"([:,])([^\d])", " $1 $2"),
    (r"([:,])$", " $1 "),
    (r"\.{2,}", " $0 "),
    ("[;@#$%&]", " $0 "),
    (concat!(r#"([^.])(\.)([\])}>"']*)"#, space!(), "*$"), "$1 $2$3 "),
    ("[?!]", " $0 "),
    ("([^'])' ", "$1 ' "),
    (r"\*", " $0 "),
    (r"[\]\[(){}<>]", " $0 "),
    ("--", " -- "),
];

/// Closing quotes and what was contracted.
const CLOSING: &[(&str, &str)] = &[
    ("([»”’])", " $1 "),
    ("''", " '' "),
    ("\"", " '' "),
    (concat!(space!(), "+"), " "),
    ("([^' ])('[sS]|'[mM]|'[dD]|') ", "$1 $2 "),
    ("([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", "$1 $2 "),
];

/// Words that are two. The boundaries around them are those of Python, so code looks at them.
const CONTRACTED: [&str; 10] = [
    "(can)(not)",
    "(d)('ye)",
    "(gim)(me)",
    "(gon)(na)",
    "(got)(ta)",
    "(lem)(me)",
    "(more)('n)",
    "(wan)(na)",
    " ('t)(is)",
    " ('t)(was)",
];

static RULES: LazyLock<[Vec<Substitution>; 3]> = LazyLock::new(|| {
    [OPENING, PUNCTUATION, CLOSING].map(|rules| {
        let compile = |&(source, by): &(&str, &'static str)| (Regex::new(source).expect("a pattern"), by);
        rules.iter().map(compile).collect()
    })
});

static TWO_WORDS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let compile = |source: &&str| Regex::new(&format!("(?i){source}")).expect("a pattern");
    CONTRACTED.iter().map(compile).collect()
});

/// Returns the words of a sentence with white space between them.
pub fn words(sentence: &str) -> String {
    let [opening, punctuation, closing] = &*RULES;
    let text = substitute(opening, sentence.to_string());
    let text = substitute(punctuation, apostrophes(&text));
    let mut text = substitute(closing, format!(" {text} "));
    for found in &*TWO_WORDS {
        let split = found.replace_all(&text, |found: &Captures<'_>| {
            let (one, other) = (found.get(1), found.get(2));
            let is_whole = one.is_some_and(|one| starts_word(&text, one))
                && other.is_some_and(|other| ends_word(&text, other));
            match is_whole {
                true => format!(" {} {} ", &found[1], &found[2]),
                false => found[0].to_string(),
            }
        });
        if let Cow::Owned(changed) = split {
            text = changed;
        }
    }
    text
}

fn starts_word(text: &str, found: Match<'_>) -> bool {
    found.as_str().starts_with('\'') || is_boundary(text, found.start())
}

/// Only white space ends `wanna`.
fn ends_word(text: &str, found: Match<'_>) -> bool {
    let before = found.start().checked_sub(3);
    let before = before.and_then(|start| text.get(start..found.start()));
    match before.is_some_and(|before| before.eq_ignore_ascii_case("wan")) {
        true => text[found.end()..].starts_with(is_space),
        false => is_boundary(text, found.end()),
    }
}

fn substitute(rules: &[Substitution], mut text: String) -> String {
    for (found, by) in rules {
        if let Cow::Owned(changed) = found.replace_all(&text, *by) {
            text = changed;
        }
    }
    text
}

/// Puts a space behind each apostrophe before a single letter or digit that is no English ending.
fn apostrophes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        out.push(c);
        let mut ahead = chars.clone();
        let (next, after) = (ahead.next(), ahead.next());
        let is_alone = next.is_some_and(is_word) && !after.is_some_and(is_word);
        let is_ending = next.is_some_and(|next| "mtsdnMTSDNſ".contains(next));
        if c == '\'' && is_alone && !is_ending {
            out.push(' ');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn words_are_split_as_nltk_does() {
        let cases = [
            (
                "Good muffins cost $3.88 in New York.",
                "Good muffins cost $ 3.88 in New York .",
            ),
            ("I DON'T KNOW IT'S", "I DO N'T KNOW IT 'S"),
            ("YOU CANNOT GIMME that", "YOU CAN NOT GIM ME that"),
            ("(A) \"B\" [C]: D, E;F", "( A ) `` B '' [ C ] : D , E ; F"),
            ("WELL-KNOWN 3,500 12:30", "WELL-KNOWN 3,500 12:30"),
            ("WAIT... A--B", "WAIT ... A -- B"),
            ("'TIS 'A' b", "'T IS ' A ' b"),
            ("*BOLD* **X**", "* BOLD * * * X * *"),
            ("U.S.A.", "U.S.A ."),
            ("d'ye wanna go wanna", "d 'ye wan na go wan na"),
            ("CANNOT½ CANNOT\u{301} cannots", "CANNOT½ CAN NOT \u{301} cannots"),
        ];
        for (text, wanted) in cases {
            let found: Vec<String> = words(text).split_whitespace().map(str::to_string).collect();
            assert_eq!(found.join(" "), wanted, "{text}");
        }
    }
}
