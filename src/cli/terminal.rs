//! Text for people at a terminal. Rows are hostile: a model wrote them.

use ratatui::text::Span;
use unicode_segmentation::UnicodeSegmentation;

pub use crate::text::{clean, counted, one_line};

/// The text with every line moved in by `by` spaces.
pub fn indent(text: &str, by: usize) -> String {
    let space = " ".repeat(by);
    let lines: Vec<_> = clean(text).lines().map(|line| format!("{space}{line}")).collect();
    lines.join("\n")
}

/// The columns of the terminal that standard output is, if it is one.
pub fn columns() -> Option<usize> {
    crate::streams::stdout().size().map(|(columns, _)| columns.into())
}

/// How many columns of a terminal a text takes. Characters of East Asia and emoji take two.
pub fn wide(text: &str) -> usize {
    Span::raw(text).width()
}

/// The text on one line of at most so many columns of a terminal, with `…` for what is cut off.
/// Characters of East Asia and emoji take two.
pub fn fitted(text: &str, columns: usize) -> String {
    let width = |text: &str| Span::raw(text).width();
    let line = one_line(text, columns.max(1));
    if width(&line) <= columns {
        return line;
    }
    let (mut short, mut taken) = (String::new(), 0);
    for part in line.trim_end_matches('…').graphemes(true) {
        taken += width(part);
        if taken >= columns {
            break;
        }
        short.push_str(part);
    }
    short + "…"
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
    use super::fitted;

    #[test]
    fn what_is_too_wide_is_cut_by_columns() {
        assert_eq!(fitted("a  b\nc", 5), "a b c");
        assert_eq!(fitted("abcdef", 4), "abc…");
        assert_eq!(fitted("羊羊羊", 6), "羊羊羊");
        assert_eq!(fitted("羊羊羊", 5), "羊羊…");
        assert_eq!(fitted("羊羊羊", 4), "羊…");
    }
}
