//! The words of a passage that support an answer, for people.

use std::collections::HashSet;

use super::words::{self, Kind};

/// A part of a passage.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Piece {
    /// Its text.
    pub text: String,
    /// Whether the answer has these words.
    pub supports: bool,
}

/// Divides a passage into words that an answer has and the rest. Together they are the passage.
pub fn pieces(passage: &str, answer: &str) -> Vec<Piece> {
    let said: HashSet<String> = words::of(answer)
        .into_iter()
        .filter(|word| word.kind != Kind::Function)
        .map(|word| word.stem)
        .collect();
    let mut pieces: Vec<Piece> = Vec::new();
    let mut add = |text: &str, supports: bool| match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(last) if last.supports == supports => last.text.push_str(text),
        _ => pieces.push(Piece {
            text: text.to_string(),
            supports,
        }),
    };
    let mut at = 0;
    let mut last_supports = false;
    for word in words::of(passage) {
        let supports = word.kind != Kind::Function && said.contains(&word.stem);
        let between = &passage[at..word.start];
        // A blank between two such words is marked with them.
        add(between, supports && last_supports && between.trim().is_empty());
        add(&passage[word.start..word.end], supports);
        (at, last_supports) = (word.end, supports);
    }
    add(&passage[at..], false);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_answer_are_marked() {
        let pieces = pieces(
            "The farm has 40 sheep, and a dog.",
            "There are forty: 40 sheeps on farms.",
        );
        let marked: Vec<&str> = pieces
            .iter()
            .filter(|piece| piece.supports)
            .map(|piece| piece.text.as_str())
            .collect();
        assert_eq!(marked, ["farm", "40 sheep"]);
        let all: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
        assert_eq!(all, "The farm has 40 sheep, and a dog.");
        assert!(super::pieces("", "x").is_empty());
    }
}
