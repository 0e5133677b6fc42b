//! Text for people at a terminal. Rows are hostile: a model wrote them.

pub use crate::text::{clean, counted, one_line};

/// The text with every line moved in by `by` spaces.
pub fn indent(text: &str, by: usize) -> String {
    let space = " ".repeat(by);
    let lines: Vec<_> = clean(text).lines().map(|line| format!("{space}{line}")).collect();
    lines.join("\n")
}

/// A score of one judge, or the mean of several.
pub fn mean(score: f64) -> String {
    match score.fract() {
        0.0 => format!("{score:.0}"),
        _ => format!("{score:.1}"),
    }
}
