//! One form for texts that look the same: without characters that nobody sees, in one width, in one case.

use std::borrow::Cow;

use icu_properties::props::{DefaultIgnorableCodePoint, ExtendedPictographic, JoiningType};
use icu_properties::{CodePointMapData, CodePointSetData};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;

/// Keeps letters apart that would join, or does not let them become one sign.
const NON_JOINER: char = '\u{200c}';
/// Joins what would stand apart.
const JOINER: char = '\u{200d}';
/// Of a consonant in an Indic script: without its vowel, joined to the next one.
const VIRAMA: u8 = 9;
/// The flag that tag characters make one of a region.
const FLAG: char = '\u{1f3f4}';
const TAGS: std::ops::RangeInclusive<char> = '\u{e0020}'..='\u{e007f}';
const DOT_ABOVE: char = '\u{307}';
/// Makes an Arabic word longer, and no other word of it.
const TATWEEL: char = '\u{640}';
/// The space of Braille, which is one among its signs only.
const BRAILLE_BLANK: char = '\u{2800}';
const BRAILLE_SIGNS: std::ops::RangeInclusive<char> = '\u{2801}'..='\u{28ff}';

/// Whether `c` belongs to a word as letters do, though it is none: a joiner that [`folded`] left in.
pub fn is_joiner(c: char) -> bool {
    matches!(c, NON_JOINER | JOINER)
}

/// Whether nothing in `text` can be seen.
pub fn is_blank(text: &str) -> bool {
    visible(text).all(char::is_whitespace)
}

/// Whether all of `text` is ASCII that is seen, or white space.
pub fn is_plain(text: &str) -> bool {
    text.is_ascii() && !text.bytes().any(|byte| is_invisible(char::from(byte)))
}

/// The characters of `text` without those that nobody sees, after compatibility normalisation (NFKC) and full case
/// folding. ẞ, ß and ss are the same, and so are ς and σ, İ, I, ı and i: since I is i in ASCII, no other folding makes
/// the two cases of Turkish one.
pub fn folded(text: &str) -> impl Iterator<Item = char> {
    let mut before = '\0';
    visible(text)
        .nfkc()
        .flat_map(fold_case)
        // Of İ a dot stays over the i, which has one anyway.
        .filter(move |&c| std::mem::replace(&mut before, c) != 'i' || c != DOT_ABOVE)
        .filter(|&c| c != TATWEEL)
        .nfc()
}

/// A character in lower case as all its forms have it. Upper case comes in between, since ß has two letters there.
fn fold_case(c: char) -> impl Iterator<Item = char> {
    let ascii = c.is_ascii().then(|| c.to_ascii_lowercase());
    let other = (!c.is_ascii()).then_some(c);
    let other = other
        .into_iter()
        .flat_map(char::to_lowercase)
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase);
    ascii.into_iter().chain(other)
}

/// The text without characters that nobody sees; the same text where it has none.
pub fn without_invisible(text: &str) -> Cow<'_, str> {
    match is_plain(text) || !text.chars().any(is_invisible) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(visible(text).collect()),
    }
}

/// The characters that can be seen, and the invisible ones that change how others look.
fn visible(text: &str) -> impl Iterator<Item = char> {
    let mut before = '\0';
    let mut rest = text.chars();
    std::iter::from_fn(move || {
        loop {
            let c = rest.next()?;
            if !is_invisible(c) || carries_something(c, before, rest.as_str()) {
                before = c;
                return Some(c);
            }
        }
    })
}

/// Format characters, variation selectors, fillers: what Unicode says to ignore where it is not supported, the marks
/// of interlinear annotations and of what was left away, and control characters that are neither white space nor, as those from
/// U+001C to U+001F, between the parts of a text.
fn is_invisible(c: char) -> bool {
    const IGNORABLE: icu_properties::CodePointSetDataBorrowed<'static> =
        CodePointSetData::new::<DefaultIgnorableCodePoint>();
    match c {
        '\t'..='\r' | '\x1c'..='~' | '\u{85}' => false,
        ..'\u{a0}' | '\u{fff9}'..='\u{fffc}' | BRAILLE_BLANK => true,
        _ => c >= '\u{ad}' && IGNORABLE.contains(c),
    }
}

/// Whether an invisible character between `before` and `after` changes what is seen: the joiners of Indic scripts, of
/// Persian and others that are written in one stroke (RFC 5892, appendix A), those of emoji, the tags of flags, and the space
/// between words in Braille.
fn carries_something(c: char, before: char, after: &str) -> bool {
    const PICTOGRAPH: icu_properties::CodePointSetDataBorrowed<'static> =
        CodePointSetData::new::<ExtendedPictographic>();
    let is_virama = |c: char| canonical_combining_class(c) == VIRAMA;
    let next = || after.chars().find(|&c| !is_invisible(c)).unwrap_or('\0');
    match c {
        NON_JOINER | JOINER if is_virama(before) || is_virama(next()) => true,
        NON_JOINER => joins_onward(before) && joins_backward(next()),
        // A tone of the skin may come in between.
        JOINER => {
            (PICTOGRAPH.contains(before) || matches!(before, '\u{1f3fb}'..='\u{1f3ff}'))
                && PICTOGRAPH.contains(next())
        }
        BRAILLE_BLANK => BRAILLE_SIGNS.contains(&before) || BRAILLE_SIGNS.contains(&next()),
        c if TAGS.contains(&c) => before == FLAG || TAGS.contains(&before),
        _ => false,
    }
}

fn joining(c: char) -> JoiningType {
    CodePointMapData::<JoiningType>::new().get(c)
}

/// Whether a letter would be joined to the next one.
fn joins_onward(c: char) -> bool {
    matches!(joining(c), JoiningType::DualJoining | JoiningType::LeftJoining)
}

fn joins_backward(c: char) -> bool {
    matches!(joining(c), JoiningType::DualJoining | JoiningType::RightJoining)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(text: &str) -> String {
        folded(text).collect()
    }

    #[test]
    fn what_looks_the_same_is_the_same() {
        let same = [
            ("in\u{200b}vis\u{ad}ible\u{2060}", "invisible"),
            ("\u{feff}Zürich\u{200e}", "zürich"),
            ("co\u{34f}op\u{200d}er\u{200c}ate\u{fe0f}", "cooperate"),
            ("\u{202a}left\u{202c}\u{2066}right\u{2069}", "leftright"),
            ("ta\u{e0067}gs", "tags"),
            ("a\u{3164}b\u{180b}\u{fff9}c", "abc"),
            ("ΟΔΥΣΣΕΥΣ Οδυσσεύς", "οδυσσευσ οδυσσεύσ"),
            ("STRASSE Straße STRAẞE", "strasse strasse strasse"),
            ("İSTANBUL Istanbul ıstanbul", "istanbul istanbul istanbul"),
            ("ＡＢＣ１２ ﬁ ｶﾞ ㎏ 𝐀 K", "abc12 fi ガ kg a k"),
            ("e\u{200b}\u{301}", "é"),
            ("N\0U\u{7}L\u{8} D\u{7f}E\u{80}L\u{9f}", "nul del"),
            ("ob\u{fffc}ject br\u{2800}aille", "object braille"),
            ("كت\u{640}\u{640}اب", "كتاب"),
            ("a\tb\u{85}c\u{1f}d", "a\tb\u{85}c\u{1f}d"),
            // After a letter that does not join onward nothing is held apart.
            ("کار\u{200c}ها", "کارها"),
        ];
        for (text, expected) in same {
            assert_eq!(fold(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_changes_what_is_seen_stays() {
        for text in [
            "می\u{200c}خواهم",
            "क्\u{200d}ष",
            "র\u{200d}্য",
            "👩\u{200d}👧",
            "🏴\u{e0067}\u{e0062}\u{e007f}",
            "⠓⠊\u{2800}⠽⠕⠥",
        ] {
            assert_eq!(fold(text), text, "{text:?}");
        }
        for text in ["", " \n", "\u{200b}", "\u{200c} \0", "\u{2800}\u{3164}"] {
            assert!(is_blank(text), "{text:?}");
        }
        assert!(!is_blank("\u{200b}.") && !is_blank("\u{640}"));
        assert_eq!(fold("❤\u{fe0f}\u{200d}🔥"), "❤\u{200d}🔥");
    }
}
