//! Answers that say the opposite of a passage: its own words, with a negation more or less.
//!
//! Word by word an answer can be in the passage and be wrong by one of them. "It is a vulnerability
//! if it loads files from any path" has no word that "it is not a vulnerability if it loads files
//! from any path" lacks.

use super::words::{Kind, Word};

/// Words that deny what they stand beside, in English and some neighbours.
const NEGATIONS: [&str; 19] = [
    "not", "no", "never", "neither", "nor", "without", "nicht", "kein", "keine", "keinen", "nie", "pas",
    "jamais", "nunca", "niet", "geen", "nooit", "inte", "aldrig",
];

/// Words in a row, without negations, that an answer must have from the passage …
const ROW: usize = 6;
/// … and content words among them.
const OF_CONTENT: usize = 3;

/// The most words of a text that are compared.
const MOST: usize = 4000;

/// A text without its negations.
struct Bare<'w> {
    words: Vec<(&'w str, bool)>,
    /// Whether a negation stands before each word.
    denied: Vec<bool>,
}

impl Bare<'_> {
    fn of(words: &[Word]) -> Bare<'_> {
        let mut bare = Bare {
            words: Vec::new(),
            denied: Vec::new(),
        };
        let mut denied = false;
        for word in &words[..words.len().min(MOST)] {
            let stem = word.stem.as_str();
            if NEGATIONS.contains(&stem) {
                denied = true;
                continue;
            }
            let verb = stem.strip_suffix("n't").or(stem.strip_suffix("n’t"));
            let verb = match (stem, verb) {
                ("cannot", _) | (_, Some("ca")) => Some("can"),
                (_, Some("wo")) => Some("will"),
                (_, verb) => verb,
            };
            bare.words
                .push((verb.unwrap_or(stem), word.kind != Kind::Function));
            bare.denied.push(denied);
            // In "is not" and "isn't" it stands before the next word.
            denied = verb.is_some();
        }
        bare
    }
}

/// Returns the word of an answer beside which the passage has a negation that it lacks, or lacks
/// one that it has, and whether the passage has it. A sentence that the passage also says in the
/// answer's way is none.
pub(super) fn opposite<'a>(passage: &[Word], answer: &'a [Word]) -> Option<(&'a str, bool)> {
    let (theirs, said) = (Bare::of(passage), Bare::of(answer));
    let mut agreed = vec![false; said.words.len()];
    let mut opposed = vec![None; said.words.len()];
    // Every run of equal words is on one diagonal.
    let starts = (0..said.words.len())
        .rev()
        .map(|at| (at, 0))
        .chain((1..theirs.words.len()).map(|at| (0, at)));
    for (mut own, mut their) in starts {
        let (mut run, mut content) = (0, 0);
        loop {
            let equal = own < said.words.len()
                && their < theirs.words.len()
                && said.words[own].0 == theirs.words[their].0;
            if equal {
                run += 1;
                content += usize::from(said.words[own].1);
            } else {
                if run >= ROW && content >= OF_CONTENT {
                    // Before the first of them, other words are before the negation.
                    for back in 1..run {
                        let (at, beside) = (own - back, their - back);
                        match said.denied[at] == theirs.denied[beside] {
                            true => agreed[at] = true,
                            false => opposed[at] = Some(theirs.denied[beside]),
                        }
                    }
                }
                (run, content) = (0, 0);
            }
            if own >= said.words.len() || their >= theirs.words.len() {
                break;
            }
            (own, their) = (own + 1, their + 1);
        }
    }
    let first = (0..said.words.len()).find_map(|at| Some((at, opposed[at]?)).filter(|_| !agreed[at]));
    first.map(|(at, theirs)| (said.words[at].0, theirs))
}

#[cfg(test)]
mod tests {
    use super::super::words;
    use super::*;

    fn found(passage: &str, answer: &str) -> Option<bool> {
        let (passage, answer) = (words::of(passage), words::of(answer));
        opposite(&passage, &answer).map(|(_, theirs)| theirs)
    }

    #[test]
    fn a_negation_more_or_less_is_the_opposite() {
        let passage = "Node.js trusts the file system. Therefore, it is not a vulnerability if it loads files from any \
                       path that is accessible to it.";
        let without = "Yes, it is a vulnerability if it loads files from any path.";
        assert_eq!(found(passage, without), Some(true));
        assert_eq!(found(passage, &without.replace("is a", "is not a")), None);
        assert_eq!(found(passage, &without.replace("is a", "isn't a")), None);
        let more = "Node.js trusts the file system. It is a bug if it never loads files from any path.";
        assert_eq!(found(passage, more), Some(false));
        // The answer to what it does not is without a negation.
        assert_eq!(
            found(
                "It does not load any files from that path.",
                "load any files from that path"
            ),
            None
        );
        // It says both.
        let both = format!("{passage} Before 2020, it is a vulnerability if it loads files from any path.");
        assert_eq!(found(&both, without), None);
        assert_eq!(found(passage, "It is safe."), None);
        assert_eq!(found("", without), None);
        assert_eq!(found(passage, ""), None);
    }

    #[test]
    fn short_forms_are_those_written_out() {
        let passage =
            "The server can't open more than ten files at once, and won't close them before the end.";
        let long =
            "The server cannot open more than ten files at once, and will not close them before the end.";
        assert_eq!(found(passage, long), None);
        assert_eq!(found(long, passage), None);
        assert_eq!(found(long, &long.replace("cannot", "can")), Some(true));
        assert_eq!(found(long, &long.replace("will not", "will")), Some(true));
    }
}
