//! The words of a text, as ROUGE compares them.

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Gives `take` the lower-cased words of `text`, in order.
///
/// On ASCII text these are the tokens of Google's `rouge_score` without stemming: maximal runs of `[a-z0-9]`. In other
/// text a word is a maximal run of letters, digits and marks, after compatibility normalisation (NFKC), so that one
/// word has one form however its accents are encoded. Han, kana, Thai and other scripts written without spaces give
/// a word a character, since a whole sentence would be a single word otherwise.
pub fn each_word(text: &str, mut take: impl FnMut(&str)) {
    if text.is_ascii() {
        let lower = text.to_ascii_lowercase();
        for word in lower.split(|c: char| !c.is_ascii_alphanumeric()) {
            if !word.is_empty() {
                take(word);
            }
        }
        return;
    }
    let mut word = String::new();
    for c in text.nfkc().flat_map(char::to_lowercase) {
        if is_unspaced(c) {
            flush(&mut word, &mut take);
            take(c.encode_utf8(&mut [0; 4]));
        } else if c.is_alphanumeric() || (is_combining_mark(c) && !word.is_empty()) {
            word.push(c);
        } else {
            flush(&mut word, &mut take);
        }
    }
    flush(&mut word, &mut take);
}

/// The words of `text`, each on its own.
pub fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    each_word(text, |word| words.push(word.to_string()));
    words
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
        | 0x1000..=0x109F // Myanmar
        | 0x1780..=0x17FF // Khmer
        | 0x3040..=0x30FF // kana
        | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x3FFFF // Han
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
        assert_eq!(words("Über Größe"), ["über", "größe"]);
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
