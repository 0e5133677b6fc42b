//! Whether an answer is in the passage that it was made from: its content words, its numbers and
//! its names. Nothing here asks a model.
//!
//! - [`words`]: the words of a text with their places and kinds.
//! - [`denial`]: answers that say the opposite, by a negation more or less.
//! - [`orders`]: sentences of a passage that give orders to a model, and rows that obey them.
//! - [`marked`]: the words of a passage that support an answer, for people.
//!
//! A number counts as found only where the passage has it near a word that it stands near in the
//! answer: `20 seconds` is not in a passage with 20 files and 10 seconds.

mod denial;
pub mod marked;
pub mod orders;
mod words;

use std::collections::HashSet;

use crate::task::{Reason, Verdict};
use words::{Kind, Word};

/// The reasons of this check, in the order in which runs record them.
pub const REASONS: [Reason; 4] = [
    Reason::Ungrounded,
    Reason::CopiesPassage,
    Reason::ObeysPassage,
    Reason::InThePassage,
];

/// Words of a passage on each side of a number among which one of its company must be.
const NEAR_IN_PASSAGE: usize = 8;

/// Words of an answer on each side of a number that are its company.
const NEAR_IN_ANSWER: usize = 5;

/// The most words of a text that are compared for copies.
const MOST_COPIED: usize = 4000;

/// What is asked of an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// The least share of the answer's content words that the passage has, from 0 to 1.
    pub support: f64,
    /// The most words in a row that an answer may have from the passage; `None` for answers that
    /// may quote it.
    pub copied: Option<usize>,
    /// Whether names in the instruction must be in the passage, too.
    pub names_of_instruction: bool,
}

/// What a passage says, to be compared with answers.
pub struct Source {
    words: Vec<Word>,
    stems: HashSet<String>,
    beginnings: HashSet<String>,
    /// Whether nouns have capitals, so that these do not make names.
    has_capital_nouns: bool,
    language: Option<whatlang::Lang>,
}

/// How much of an answer is in a passage.
#[derive(Debug, Clone, PartialEq)]
pub struct Support {
    /// The share of its content words, from 0 to 1; 1 if it has none.
    pub share: f64,
    /// Numbers that the passage does not have there.
    pub numbers: Vec<String>,
    /// Names that the passage does not have.
    pub names: Vec<String>,
}

impl Source {
    /// Reads a passage, or several that are one text to compare with, with their headings.
    pub fn new(texts: &[&str]) -> Source {
        let mut all = Vec::new();
        for text in texts {
            all.extend(words::of(text));
        }
        let language = reliable(&texts.join(" "));
        let stems = all.iter().map(|word| word.stem.clone()).collect();
        let beginnings = all
            .iter()
            .filter_map(|word| words::beginning(&word.stem))
            .collect();
        Source {
            words: all,
            stems,
            beginnings,
            has_capital_nouns: language == Some(whatlang::Lang::Deu),
            language,
        }
    }

    fn has(&self, word: &Word) -> bool {
        self.stems.contains(&word.stem)
            || words::beginning(&word.stem).is_some_and(|beginning| self.beginnings.contains(&beginning))
    }

    /// Whether the passage has a number near the words that are near it in the answer: one of them,
    /// or two if it has many there, since small numbers are everywhere. A number that the answer
    /// has twice in a place (`3 and 3`) must be there twice in the passage.
    fn has_number(&self, answer: &[Word], at: usize) -> bool {
        let company = company(answer, at);
        let needed = match company.len() {
            0 => 0,
            1..=3 => 1,
            _ => 2,
        };
        let stem = answer[at].stem.as_str();
        let before = &answer[at.saturating_sub(NEAR_IN_ANSWER)..at];
        let times = 1 + before.iter().filter(|word| word.stem == stem).count();
        let mut found = self
            .words
            .iter()
            .enumerate()
            .filter(|(_, word)| word.stem == stem);
        found.any(|(place, _)| {
            let from = place.saturating_sub(NEAR_IN_PASSAGE);
            let to = (place + NEAR_IN_PASSAGE + 1).min(self.words.len());
            let near: HashSet<&str> = self.words[from..to]
                .iter()
                .map(|word| word.stem.as_str())
                .filter(|stem| company.contains(stem))
                .collect();
            let there = self.words[from..to].iter().filter(|word| word.stem == stem);
            near.len() >= needed && there.count() >= times
        })
    }
}

/// The content words near a number.
fn company(words: &[Word], at: usize) -> HashSet<&str> {
    let from = at.saturating_sub(NEAR_IN_ANSWER);
    let to = (at + NEAR_IN_ANSWER + 1).min(words.len());
    let near = words[from..to]
        .iter()
        .filter(|word| matches!(word.kind, Kind::Content | Kind::Name));
    near.map(|word| word.stem.as_str()).collect()
}

/// Measures how much of an answer is in the passage, or in the instruction, whose words an answer
/// may repeat.
pub fn support(source: &Source, instruction: &str, answer: &str) -> Support {
    supported(
        source,
        &words::of(instruction),
        &words::of(answer),
        reliable(answer),
    )
}

/// [`support`] of an answer in this language.
fn supported(source: &Source, asked: &[Word], said: &[Word], language: Option<whatlang::Lang>) -> Support {
    let asked_stems: HashSet<&str> = asked.iter().map(|word| word.stem.as_str()).collect();
    let is_translated = match (source.language, language) {
        (Some(theirs), Some(own)) => theirs != own,
        _ => false,
    };
    let (mut content, mut found) = (0_u32, 0_u32);
    let (mut numbers, mut names) = (Vec::new(), Vec::new());
    for (at, word) in said.iter().enumerate() {
        let is_asked = asked_stems.contains(word.stem.as_str());
        match word.kind {
            Kind::Function => {}
            Kind::Number if is_asked || source.has_number(said, at) => {}
            Kind::Number => numbers.push(word.shown.clone()),
            Kind::Name | Kind::Content => {
                content += 1;
                if is_asked || source.has(word) {
                    found += 1;
                } else if word.kind == Kind::Name && !source.has_capital_nouns && !is_translated {
                    names.push(word.shown.clone());
                }
            }
        }
    }
    let share = match content {
        _ if is_translated => 1.0,
        0 => 1.0,
        _ => f64::from(found) / f64::from(content),
    };
    Support {
        share,
        numbers,
        names,
    }
}

/// Checks an answer, and says what is not in the passage.
pub fn check(source: &Source, instruction: &str, answer: &str, limits: &Limits) -> Verdict {
    let (asked, said) = (words::of(instruction), words::of(answer));
    let found = supported(source, &asked, &said, reliable(answer));
    if let Some(number) = found.numbers.first() {
        return ungrounded(format!("the number '{number}' is not there"));
    }
    if let Some(name) = found.names.first() {
        return ungrounded(format!("the name '{name}' is not there"));
    }
    if found.share < limits.support {
        let percent = 100.0 * found.share;
        return ungrounded(format!("{percent:.0} % of its words are there"));
    }
    if let Some((word, theirs)) = denial::opposite(&source.words, &said) {
        let has = if theirs { "has" } else { "lacks" };
        return ungrounded(format!(
            "the passage {has} a negation before '{word}' in the same words"
        ));
    }
    if limits.names_of_instruction {
        let mut names = asked.iter().filter(|word| word.kind == Kind::Name);
        if let Some(name) = names.find(|word| !source.has_capital_nouns && !source.has(word)) {
            return ungrounded(format!("the name '{}' is not there", name.shown));
        }
    }
    match limits.copied {
        Some(most) => match longest_run(source, &said) {
            run if run > most => Verdict::rejected(
                Reason::CopiesPassage,
                format!("{} in a row are its own", crate::text::counted(run, "word")),
            ),
            _ => Verdict::accepted(),
        },
        None => Verdict::accepted(),
    }
}

fn ungrounded(detail: String) -> Verdict {
    Verdict::rejected(Reason::Ungrounded, detail)
}

/// The most words in a row that a text has from the passage.
pub fn longest_copy(source: &Source, text: &str) -> usize {
    longest_run(source, &words::of(text))
}

fn longest_run(source: &Source, said: &[Word]) -> usize {
    let said = &said[..said.len().min(MOST_COPIED)];
    let theirs = &source.words[..source.words.len().min(MOST_COPIED)];
    let mut row = vec![0_usize; theirs.len() + 1];
    let mut longest = 0;
    for word in said {
        // From the right, so that each entry still has the value of the word before.
        for at in (0..theirs.len()).rev() {
            row[at + 1] = if theirs[at].stem == word.stem {
                row[at] + 1
            } else {
                0
            };
            longest = longest.max(row[at + 1]);
        }
    }
    longest
}

/// Whether a passage answers a question after all: the answer says nothing that is not in it.
pub fn is_in_passage(source: &Source, instruction: &str, answer: &str) -> bool {
    // What the question says itself is no answer.
    let asked: HashSet<String> = words::of(instruction).into_iter().map(|word| word.stem).collect();
    let said = words::of(answer);
    let own = said
        .iter()
        .filter(|word| word.kind != Kind::Function && !asked.contains(&word.stem))
        .count();
    let found = support(source, "", answer);
    own > 0 && found.numbers.is_empty() && found.names.is_empty() && found.share >= 0.75
}

/// Whether an instruction is about a passage: at least one of its content words is in it.
pub fn is_about(source: &Source, instruction: &str) -> bool {
    let asked = words::of(instruction);
    let mut content = asked.iter().filter(|word| word.kind != Kind::Function);
    source.language != reliable(instruction) && reliable(instruction).is_some() && source.language.is_some()
        || content.any(|word| source.has(word))
}

/// The language of a text, where there is no doubt.
fn reliable(text: &str) -> Option<whatlang::Lang> {
    let found = whatlang::detect(text)?;
    let letters = text.chars().filter(|c| c.is_alphabetic()).take(60).count();
    (letters >= 60 && found.is_reliable()).then(|| found.lang())
}

#[cfg(test)]
mod tests;
