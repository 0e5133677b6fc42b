//! Normal form of text: without invisible characters, in one width and one case.

use std::borrow::Cow;

use icu_properties::props::{DefaultIgnorableCodePoint, ExtendedPictographic, JoiningType};
use icu_properties::{CodePointMapData, CodePointSetData};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;

/// Zero-width non-joiner: keeps apart letters that would join.
const NON_JOINER: char = '\u{200c}';
/// Zero-width joiner: joins signs that would stand apart.
const JOINER: char = '\u{200d}';
/// Combining class of the sign that takes the vowel from an Indic consonant and joins it to the
/// next.
const VIRAMA: u8 = 9;
/// The black flag that tag characters turn into the flag of a region.
const FLAG: char = '\u{1f3f4}';
const TAGS: std::ops::RangeInclusive<char> = '\u{e0020}'..='\u{e007f}';
const DOT_ABOVE: char = '\u{307}';
/// Stretches an Arabic word without changing it.
const TATWEEL: char = '\u{640}';
/// The blank Braille pattern, a space only among Braille signs.
const BRAILLE_BLANK: char = '\u{2800}';
const BRAILLE_SIGNS: std::ops::RangeInclusive<char> = '\u{2801}'..='\u{28ff}';

/// Whether `c` is a joiner that [`folded`] keeps: it belongs to a word although it is no letter.
pub fn is_joiner(c: char) -> bool {
    matches!(c, NON_JOINER | JOINER)
}

/// Whether no character of `text` is visible.
pub fn is_blank(text: &str) -> bool {
    visible(text).all(char::is_whitespace)
}

/// Whether `text` is visible ASCII and white space only.
pub fn is_plain(text: &str) -> bool {
    text.is_ascii() && !text.bytes().any(|byte| is_invisible(char::from(byte)))
}

/// Returns `text` without invisible characters, after compatibility normalization (NFKC) and full
/// case folding. ẞ, ß and ss are equal, so are ς and σ, and so are İ, I, ı and i: since ASCII's I
/// becomes i, only this makes the two cases of Turkish letters equal.
pub fn folded(text: &str) -> impl Iterator<Item = char> {
    let mut before = '\0';
    visible(text)
        .nfkc()
        .flat_map(fold_case)
        // İ leaves a combining dot over the i, which has one anyway.
        .filter(move |&c| std::mem::replace(&mut before, c) != 'i' || c != DOT_ABOVE)
        .filter(|&c| c != TATWEEL)
        .nfc()
}

/// Folds the case of a character. Goes through upper case, where ß becomes two letters.
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

/// Returns the text without invisible characters; borrowed if it has none.
pub fn without_invisible(text: &str) -> Cow<'_, str> {
    match is_plain(text) || !text.chars().any(is_invisible) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(visible(text).collect()),
    }
}

/// The visible characters of a text, and the invisible ones that change how others look.
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

/// Whether a character is invisible: format characters, variation selectors and fillers, which
/// Unicode lists as ignorable where unsupported; the marks of interlinear annotations and of
/// omitted objects; and control characters that are neither white space nor separators as U+001C to
/// U+001F.
fn is_invisible(c: char) -> bool {
    const IGNORABLE: icu_properties::CodePointSetDataBorrowed<'static> =
        CodePointSetData::new::<DefaultIgnorableCodePoint>();
    match c {
        '\t'..='\r' | '\x1c'..='~' | '\u{85}' => false,
        ..'\u{a0}' | '\u{fff9}'..='\u{fffc}' | BRAILLE_BLANK => true,
        _ => c >= '\u{ad}' && IGNORABLE.contains(c),
    }
}

/// Whether an invisible character between `before` and `after` changes what is seen: joiners in
/// Indic, Persian and other cursive scripts (RFC 5892, appendix A) and in emoji, tags of flags, and
/// the space between Braille words.
fn carries_something(c: char, before: char, after: &str) -> bool {
    const PICTOGRAPH: icu_properties::CodePointSetDataBorrowed<'static> =
        CodePointSetData::new::<ExtendedPictographic>();
    let is_virama = |c: char| canonical_combining_class(c) == VIRAMA;
    let next = || after.chars().find(|&c| !is_invisible(c)).unwrap_or('\0');
    match c {
        NON_JOINER | JOINER if is_virama(before) || is_virama(next()) => true,
        NON_JOINER => joins_onward(before) && joins_backward(next()),
        // A skin tone may stand in between.
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

/// Whether a letter joins to the next one.
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
            // After a letter that does not join to the next one, the non-joiner changes nothing.
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
