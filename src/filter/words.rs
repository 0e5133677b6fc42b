//! Splits texts into words as ROUGE compares them.

use crate::fold::{folded, is_joiner, is_plain};
use unicode_normalization::char::is_combining_mark;
use unicode_segmentation::UnicodeSegmentation;

/// Calls `take` with each word of `text` in lower case, in order.
///
/// In ASCII text without invisible characters, these are the tokens of Google's `rouge_score`
/// without stemming: maximal runs of `[a-z0-9]`. In other text, a word is a maximal run of letters,
/// digits and marks in normal form (`fold`), so that texts which look the same have the same words,
/// whatever their accents' encoding, case, width and invisible characters. In scripts written
/// without spaces, such as Han, kana and Thai, each character with its marks is a word: a whole
/// sentence would be one word otherwise.
pub fn each_word(text: &str, mut take: impl FnMut(&str)) {
    if is_plain(text) {
        let lower = text.to_ascii_lowercase();
        for word in lower.split(|c: char| !c.is_ascii_alphanumeric()) {
            if !word.is_empty() {
                take(word);
            }
        }
        return;
    }
    let mut word = String::new();
    // Whether the word is one character of a script without spaces, which ends it.
    let mut whole = false;
    for c in folded(text) {
        if !word.is_empty() && (is_combining_mark(c) || is_joiner(c)) {
            word.push(c);
            continue;
        }
        let unspaced = is_unspaced(c);
        if whole || unspaced || !c.is_alphanumeric() {
            flush(&mut word, &mut take);
        }
        if c.is_alphanumeric() {
            word.push(c);
        }
        whole = unspaced;
    }
    flush(&mut word, &mut take);
}

/// Calls `take` with each unit that a text is compared by: its words, or if it has none, such as
/// emoji, signs and operators, its grapheme clusters without white space. `rouge_score` scores two
/// such texts 0, even if they are equal.
pub fn each_unit(text: &str, mut take: impl FnMut(&str)) {
    let mut has_words = false;
    each_word(text, |word| {
        has_words = true;
        take(word);
    });
    if !has_words {
        let signs: String = folded(text).collect();
        signs
            .graphemes(true)
            .filter(|sign| !sign.trim().is_empty())
            .for_each(take);
    }
}

/// The words of `text`: see [`each_word`].
pub fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    each_word(text, |word| words.push(word.to_string()));
    words
}

/// The units that `text` is compared by: see [`each_unit`].
pub fn units(text: &str) -> Vec<String> {
    let mut units = Vec::new();
    each_unit(text, |unit| units.push(unit.to_string()));
    units
}

fn flush(word: &mut String, take: &mut impl FnMut(&str)) {
    if !word.is_empty() {
        take(word);
        word.clear();
    }
}

/// Whether `c` is a letter or digit of a script that puts no spaces between words.
pub(super) fn is_unspaced(c: char) -> bool {
    let unspaced = matches!(c as u32,
        0x0E00..=0x0EFF // Thai, Lao
        | 0x1000..=0x109F | 0xA9E0..=0xA9FF | 0xAA60..=0xAA7F // Myanmar
        | 0x1780..=0x17FF // Khmer
        | 0x1950..=0x19DF | 0x1A20..=0x1AAF | 0xAA80..=0xAADF // Tai
        | 0x1B00..=0x1B7F | 0xA980..=0xA9DF // Balinese, Javanese
        | 0x3005..=0x3007 | 0x3021..=0x3029 | 0x3031..=0x303C // marks and numerals among Han
        | 0x3040..=0x312F | 0x31A0..=0x31BF | 0x31F0..=0x31FF // kana, bopomofo
        | 0xA000..=0xA4CF // Yi
        | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x3FFFF // Han
        | 0x12000..=0x143FF // cuneiform, hieroglyphs
        | 0x16FE0..=0x1B2FF // Tangut, kana, Nushu
    );
    unspaced && c.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn those_of_rouge_score_on_ascii() {
        assert_eq!(
            words("Don't panic: it's 3.5 o'clock_now!"),
            ["don", "t", "panic", "it", "s", "3", "5", "o", "clock", "now"]
        );
        assert_eq!(words("--"), Vec::<String>::new());
    }

    #[test]
    fn other_scripts_have_words_too() {
        assert_eq!(words("Über Größe"), ["über", "grösse"]);
        assert_eq!(
            words("写一首诗 about 海"),
            ["写", "一", "首", "诗", "about", "海"]
        );
        // A virama joins two consonants; it ends no word.
        assert_eq!(words("हिन्दी में लिखो"), ["हिन्दी", "में", "लिखो"]);
    }

    #[test]
    fn one_word_has_one_form() {
        assert_eq!(words("cafe\u{301} ＡＢＣ"), words("café abc"));
        assert_eq!(words("\u{301}é"), ["é"]);
        assert_eq!(words("in\u{200b}vis\u{ad}ible ΣΑΣ"), ["invisible", "σασ"]);
        assert_eq!(words("in\0vis\u{8}ible\u{1f}ones"), ["invisible", "ones"]);
        assert_eq!(words("می\u{200c}خواهم"), ["می\u{200c}خواهم"]);
    }

    #[test]
    fn characters_of_scripts_without_spaces_keep_their_marks() {
        assert_eq!(words("ไม้ไม่"), ["ไ", "ม้", "ไ", "ม่"]);
        assert_eq!(words("ｶﾞｷﾞ人々abc"), ["ガ", "ギ", "人", "々", "abc"]);
        assert_eq!(words("ភាសាខ្មែរ"), ["ភា", "សា", "ខ្", "មែ", "រ"]);
    }

    #[test]
    fn a_text_without_words_has_characters() {
        assert_eq!(units("name it!"), ["name", "it"]);
        assert_eq!(units("+ = ?"), ["+", "=", "?"]);
        assert_eq!(units("👩\u{200d}👧 ❤\u{fe0f}🇵🇪"), ["👩\u{200d}👧", "❤", "🇵🇪"]);
        assert_eq!(units(" \u{200b}\n"), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn ascii_words_are_the_runs_of_letters_and_digits(text in "[ -~\\n\\t]{0,80}") {
            let lower = text.to_lowercase();
            let expected: Vec<&str> =
                lower.split(|c: char| !matches!(c, 'a'..='z' | '0'..='9')).filter(|w| !w.is_empty()).collect();
            prop_assert_eq!(words(&text), expected);
        }

        #[test]
        fn any_text_has_lower_case_words_without_spaces(text in "\\PC{0,80}|(\\p{Any}){0,40}") {
            for word in words(&text) {
                prop_assert!(!word.is_empty() && !word.contains(char::is_whitespace));
                prop_assert!(word.starts_with(char::is_alphanumeric));
                prop_assert_eq!(words(&word).concat(), word);
            }
        }
    }
}
