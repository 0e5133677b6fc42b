//! Text for people at a terminal. Rows are hostile: a model wrote them.

pub use crate::curate::plain::clean;

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

/// The text with every line moved in by `by` spaces.
pub fn indent(text: &str, by: usize) -> String {
    let space = " ".repeat(by);
    let lines: Vec<_> = clean(text).lines().map(|line| format!("{space}{line}")).collect();
    lines.join("\n")
}

/// A number with its noun.
pub fn counted(number: i64, one: &str) -> String {
    if number == 1 {
        format!("1 {one}")
    } else {
        format!("{number} {one}s")
    }
}

/// A score of one judge, or the mean of several.
pub fn mean(score: f64) -> String {
    match score.fract() {
        0.0 => format!("{score:.0}"),
        _ => format!("{score:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(one_line("a\n  b\tc", 10), "a b c");
        assert_eq!(one_line("abcdef", 4), "abc…");
    }
}
