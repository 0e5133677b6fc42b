//! Character classes and case of Python's `str` and `re`, which the paper's code uses.

use std::borrow::Cow;

use icu_properties::CodePointMapData;
use icu_properties::props::GeneralCategory;
use regex::{Regex, RegexBuilder};

/// The most memory of a compiled pattern, in bytes.
const LARGEST_PATTERN: usize = 4 << 20;

/// White space as a class of the `regex` crate.
macro_rules! space {
    () => {
        r"[\s\x1c-\x1f]"
    };
}
pub(super) use space;

/// Words as `\w+` finds them, in the syntax of the `regex` crate, whose own `\w` has marks too.
pub const WORD: &str = r"[\p{L}\p{N}_]+";

/// Whether `str.isspace` is true: white space, and the four separators of ASCII.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

/// The text without white space around it, as `str.strip` returns it.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Whether `\w` matches: letters, numbers of all kinds, and the underscore, but no marks.
pub fn is_word(c: char) -> bool {
    use GeneralCategory::*;
    if c.is_ascii() {
        return c == '_' || c.is_ascii_alphanumeric();
    }
    matches!(
        category(c),
        UppercaseLetter
            | LowercaseLetter
            | TitlecaseLetter
            | ModifierLetter
            | OtherLetter
            | DecimalNumber
            | LetterNumber
            | OtherNumber
    )
}

/// Whether `\b` matches at this byte: a word begins or ends.
pub fn is_boundary(text: &str, at: usize) -> bool {
    let before = text[..at].chars().next_back().is_some_and(is_word);
    before != text[at..].chars().next().is_some_and(is_word)
}

/// Whether `\d` matches.
pub fn is_decimal(c: char) -> bool {
    c.is_ascii_digit() || !c.is_ascii() && category(c) == GeneralCategory::DecimalNumber
}

fn category(c: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(c)
}

/// Whether `\w` of the `regex` crate matches, or does not, where Python's decides otherwise: marks,
/// joiners and some symbols, or fractions and superscripts.
pub fn is_word_elsewhere(c: char) -> bool {
    use GeneralCategory::*;
    let is_word_there = c.is_alphabetic()
        || matches!(c, '\u{200c}' | '\u{200d}')
        || matches!(
            category(c),
            NonspacingMark | SpacingMark | EnclosingMark | DecimalNumber | ConnectorPunctuation
        );
    !c.is_ascii() && is_word_there != is_word(c)
}

/// The text with other characters in place of those of [`is_word_elsewhere`], so that `\w` and `\b`
/// of the `regex` crate find what Python's find. Patterns must have none of these characters.
pub fn with_words_of_python(text: &str) -> Cow<'_, str> {
    if !text.contains(is_word_elsewhere) {
        return Cow::Borrowed(text);
    }
    let replaced = text.chars().map(|c| match (is_word_elsewhere(c), is_word(c)) {
        (false, _) => c,
        // A letter without case and a symbol, which no pattern names.
        (true, true) => '\u{10a10}',
        (true, false) => '\u{1d200}',
    });
    Cow::Owned(replaced.collect())
}

/// Whether a character is a titlecase letter, such as `ǅ`: neither upper nor lower case.
fn is_title(c: char) -> bool {
    matches!(c, 'ǅ' | 'ǈ' | 'ǋ' | 'ǲ' | '\u{1f88}'..='\u{1f8f}' | '\u{1f98}'..='\u{1f9f}'
        | '\u{1fa8}'..='\u{1faf}' | '\u{1fbc}' | '\u{1fcc}' | '\u{1ffc}')
}

/// `str.isupper`: a letter in upper case, and none in lower case.
pub fn is_upper(text: &str) -> bool {
    let is_cased = text.chars().any(char::is_uppercase);
    is_cased && !text.chars().any(|c| c.is_lowercase() || is_title(c))
}

/// `str.islower`: a letter in lower case, and none in upper case.
pub fn is_lower(text: &str) -> bool {
    let is_cased = text.chars().any(char::is_lowercase);
    is_cased && !text.chars().any(|c| c.is_uppercase() || is_title(c))
}

/// A pattern that ignores case, over text of [`folded`].
pub fn ignoring_case(source: &str) -> Result<Regex, String> {
    RegexBuilder::new(&folded(source))
        .case_insensitive(true)
        .multi_line(false)
        .size_limit(LARGEST_PATTERN)
        .build()
        .map_err(|error| error_line(&error))
}

/// A pattern as it is.
pub fn pattern(source: &str) -> Result<Regex, String> {
    RegexBuilder::new(source)
        .size_limit(LARGEST_PATTERN)
        .build()
        .map_err(|error| error_line(&error))
}

/// The last line of the error, which says what is wrong; the others show where.
fn error_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_string()
}

/// The text with `İ` and `ı` as `i`. Python's `re.IGNORECASE` takes them for the same letter; the
/// `regex` crate does not.
pub fn folded(text: &str) -> Cow<'_, str> {
    match text.contains(['İ', 'ı']) {
        true => Cow::Owned(text.replace(['İ', 'ı'], "i")),
        false => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_is_that_of_python() {
        let cases = [
            ("ABC", true, false),
            ("abc", false, true),
            ("A1!", true, false),
            ("123", false, false),
            ("", false, false),
            ("Ab", false, false),
            ("ǅA", false, false),
            ("ǅa", false, false),
            ("ª", false, true),
            ("Ⅷ", true, false),
            ("日本A", true, false),
        ];
        for (text, upper, lower) in cases {
            assert_eq!((is_upper(text), is_lower(text)), (upper, lower), "{text}");
        }
    }

    #[test]
    fn spaces_and_words_are_those_of_python() {
        assert_eq!(strip("\u{1c}\u{a0} a b \u{3000}\u{85}"), "a b");
        assert_eq!(strip("\u{200b}a\u{feff}"), "\u{200b}a\u{feff}");
        let words: Vec<bool> = "aЖ漢5²½Ⅷ_\u{301}‿-'".chars().map(is_word).collect();
        assert_eq!(
            words,
            [
                true, true, true, true, true, true, true, true, false, false, false, false
            ]
        );
    }

    #[test]
    fn patterns_find_the_words_of_python() {
        let text = "x² ½ a\u{301}b क\u{93f} a\u{200d}b Ⓐ ‿";
        let mapped = with_words_of_python(text);
        assert!(!mapped.contains(is_word_elsewhere));
        let word = Regex::new(r"^\w$").unwrap();
        for (there, here) in mapped.chars().zip(text.chars()) {
            assert_eq!(word.is_match(&there.to_string()), is_word(here), "{here}");
        }
        assert!(matches!(with_words_of_python("é 漢 5_"), Cow::Borrowed(_)));
    }

    #[test]
    fn case_is_ignored_as_python_does() {
        let found = |pattern: &str, text: &str| ignoring_case(pattern).unwrap().is_match(&folded(text));
        assert!(found("istanbul", "İSTANBUL") && found("kelvin", "\u{212a}elvin") && found("ı", "I"));
        assert!(!found("a", "á"));
        assert!(ignoring_case("(").unwrap_err().contains("unclosed group"));
        assert!(ignoring_case("(?=a)").is_err());
    }
}
