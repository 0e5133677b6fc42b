//! Words for people: numbers with their nouns, long texts on one line.

use std::fmt::Display;

pub use crate::curate::plain::clean;

/// A number with its noun: `1 row`, `2 rows`.
pub fn counted<N: Display + PartialEq + From<u8>>(number: N, one: &str) -> String {
    chosen(number, one, &format!("{one}s"))
}

/// The noun alone, where its number stands apart: `row` of 1, `rows` of 2.
pub fn noun<N: PartialEq + From<u8>>(number: N, one: &str) -> String {
    match number == N::from(1) {
        true => one.to_owned(),
        false => format!("{one}s"),
    }
}

/// A number with words that follow it: `1 was rejected`, `2 were rejected`.
pub fn chosen<N: Display + PartialEq + From<u8>>(number: N, one: &str, several: &str) -> String {
    match number == N::from(1) {
        true => format!("1 {one}"),
        false => format!("{number} {several}"),
    }
}

/// The text on one line of at most `width` characters, with `…` for what does not fit.
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
    fn long_texts_are_cut() {
        assert_eq!(one_line("a\n  b\tc", 10), "a b c");
        assert_eq!(one_line("abcdef", 4), "abc…");
    }
}
