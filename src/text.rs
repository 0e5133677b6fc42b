//! Text for people: counts with nouns, text on one line, text that is safe on a terminal, round
//! numbers ([`scale`]).

pub mod scale;

use std::fmt::{Display, Write};
use std::path::Path;

/// Formats a number with its noun: `1 row`, `2 rows`.
pub fn counted<N: Display + PartialEq + From<u8>>(number: N, one: &str) -> String {
    chosen(number, one, &format!("{one}s"))
}

/// Returns the noun alone, for a number that is shown apart: `row` for 1, `rows` for 2.
pub fn noun<N: PartialEq + From<u8>>(number: N, one: &str) -> String {
    match number == N::from(1) {
        true => one.to_owned(),
        false => format!("{one}s"),
    }
}

/// Formats a number with the words that follow it: `1 was rejected`, `2 were rejected`.
pub fn chosen<N: Display + PartialEq + From<u8>>(number: N, one: &str, several: &str) -> String {
    match number == N::from(1) {
        true => format!("1 {one}"),
        false => format!("{number} {several}"),
    }
}

/// Puts the text on one line of at most `width` characters, with `…` for what is cut off.
pub fn one_line(text: &str, width: usize) -> String {
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = clean(&joined);
    if line.chars().count() <= width {
        return line;
    }
    let mut short: String = line.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Makes all characters visible that a terminal would obey, except line breaks and tabs. Rows and
/// answers of models are untrusted.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' | '\t' => character,
            // The symbols for control characters, ␀ to ␟.
            '\0'..='\x1f' => char::from_u32(0x2400 + character as u32).unwrap_or('\u{fffd}'),
            '\x7f'..='\u{9f}' => '\u{fffd}',
            // Marks that change the direction of the text around them, and unusual line separators.
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                '\u{fffd}'
            }
            _ => character,
        })
        .collect()
}

/// Returns a path as it is typed into a shell: in quotes if it has characters that a shell reads
/// differently.
pub fn shell_word(path: &Path) -> String {
    let path = path.to_string_lossy();
    let is_plain = |c: char| c.is_alphanumeric() || "_-./:@%+=,".contains(c);
    match !path.is_empty() && path.chars().all(is_plain) {
        true => path.into_owned(),
        false => format!("'{}'", path.replace('\'', r"'\''")),
    }
}

/// Formats bytes as hexadecimal digits in lower case.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut digits, byte| {
            let _ = write!(digits, "{byte:02x}");
            digits
        })
}

/// A size for people, in powers of ten: `4.3 GB`, `512.0 MB`, `49.2 kB`.
pub fn format_size(bytes: u64) -> String {
    let (unit, name) = match bytes {
        1_000_000_000.. => (1e9, "GB"),
        1_000_000.. => (1e6, "MB"),
        _ => (1e3, "kB"),
    };
    format!("{:.1} {name}", bytes as f64 / unit)
}

/// An error with its causes on one line, and the hints of all of them below: a hint is a way out,
/// not part of the cause. Control characters are made visible.
pub fn format_error(error: &anyhow::Error) -> String {
    let (mut causes, mut hints): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for cause in error.chain() {
        let text = cause.to_string();
        let (what, hint) = text.split_once("\nhint:").unwrap_or((&text, ""));
        // Some errors already print their cause.
        if !causes.last().is_some_and(|last| last.ends_with(what)) {
            causes.push(what.to_owned());
        }
        if !hint.is_empty() && !hints.iter().any(|known| known == hint) {
            hints.push(hint.to_owned());
        }
    }
    let mut text = causes.join(": ");
    for hint in hints {
        text.push_str("\nhint:");
        text.push_str(&hint);
    }
    clean(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one() {
        assert_eq!(counted(1, "row"), "1 row");
        assert_eq!(counted(0_u64, "row"), "0 rows");
        assert_eq!(
            (noun(1, "row"), noun(2_u64, "row")),
            ("row".into(), "rows".into())
        );
        assert_eq!(chosen(1_usize, "was rejected", "were rejected"), "1 was rejected");
        assert_eq!(chosen(12, "was rejected", "were rejected"), "12 were rejected");
    }

    #[test]
    fn sizes_are_shown() {
        assert_eq!(format_size(4 << 30), "4.3 GB");
        assert_eq!(format_size(49_152), "49.2 kB");
        assert_eq!(format_size(20_000_000), "20.0 MB");
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(one_line("a\n  b\tc", 10), "a b c");
        assert_eq!(one_line("abcdef", 4), "abc…");
    }

    #[test]
    fn escape_sequences_are_shown_and_not_obeyed() {
        assert_eq!(
            clean("\x1b[2Jhi\r\n\u{202e}x\u{9b}m\u{2028}"),
            "␛[2Jhi␍\n\u{fffd}x\u{fffd}m\u{fffd}"
        );
    }

    #[test]
    fn paths_can_be_typed() {
        let word = |path: &str| shell_word(Path::new(path));
        assert_eq!(word("models/gemma-3"), "models/gemma-3");
        assert_eq!(
            [word(""), word("my data"), word("it's"), word("$HOME;ls")],
            ["''", "'my data'", r"'it'\''s'", "'$HOME;ls'"]
        );
    }

    #[test]
    fn bytes_are_pairs_of_digits() {
        assert_eq!(hex(&[0, 0x0a, 0xff]), "000aff");
    }
}
