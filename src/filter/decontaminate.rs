//! Evaluation data that must not be trained on: is a task, or a part of it, in one of these files?
//!
//! A row is contaminated when its instruction or one of its inputs is the same text as an instruction or input of an
//! evaluation file, has n consecutive words in common with one (13 as in Brown et al. 2020, "Language models are
//! few-shot learners", appendix C), or is above the threshold by ROUGE-L F1, as Self-Instruct compares tasks.

use super::Index;
use super::rouge::{Score, Threshold};
use super::vocabulary::Vocabulary;
use super::words::units;
use crate::task::Task;
use crate::text::counted;
use std::collections::HashSet;

/// Inputs of fewer words say too little to be the same by more than chance: names, numbers, labels.
const SHORTEST_INPUT: usize = 8;

/// The instructions and inputs of evaluation files.
#[derive(Debug)]
pub struct Evaluation {
    ngram: usize,
    index: Index,
    vocabulary: Vocabulary,
    /// By position in the index.
    texts: Vec<Text>,
    /// n-grams and the first text that each is in.
    ngrams: std::collections::HashMap<Box<[u32]>, u32, foldhash::fast::RandomState>,
}

#[derive(Debug)]
struct Text {
    origin: usize,
    part: Part,
}

/// The parts of a task that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Instruction,
    Input,
}

impl Part {
    fn as_str(self) -> &'static str {
        match self {
            Part::Instruction => "instruction",
            Part::Input => "input",
        }
    }
}

/// What a row has in common with an evaluation file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contamination {
    /// The evaluation task, counted from 0 in the order in which they were added.
    pub origin: usize,
    /// ROUGE-L F1 of the two texts, where they were found by it.
    pub score: Option<Score>,
    /// What was found, for people.
    pub detail: String,
}

impl Evaluation {
    /// No files yet. `ngram` is how many consecutive words are too many, at least 1.
    pub fn new(threshold: Threshold, ngram: usize) -> Evaluation {
        Evaluation {
            ngram,
            index: Index::new(threshold),
            vocabulary: Vocabulary::default(),
            texts: Vec::new(),
            ngrams: Default::default(),
        }
    }

    /// Adds a task of an evaluation file, the `origin`-th.
    pub fn add(&mut self, origin: usize, task: &Task) {
        for (part, text) in parts(task) {
            let position = self.texts.len() as u32;
            self.texts.push(Text { origin, part });
            self.index.push(text);
            let mut encoded = self.vocabulary.look_up(text);
            self.vocabulary.add(&mut encoded);
            for ngram in encoded.words.windows(self.ngram) {
                self.ngrams.entry(ngram.into()).or_insert(position);
            }
        }
    }

    /// What the task has in common with an evaluation file, if anything: the same or a similar text before an n-gram,
    /// the instruction before inputs.
    pub fn find(&self, task: &Task) -> Option<Contamination> {
        if self.texts.is_empty() {
            return None;
        }
        let similar = |(part, text): (Part, &str)| {
            let near = self.index.duplicate(text, self.index.len())?;
            let how = match 2 * near.score.lcs == near.score.total {
                true => "the words of".to_string(),
                false => format!("ROUGE-L {:.3} with", near.score.f1()),
            };
            Some(self.contamination(part, &how, near.position, Some(near.score)))
        };
        let shared = |(part, text): (Part, &str)| {
            let encoded = self.vocabulary.look_up(text);
            let (at, position) = encoded
                .words
                .windows(self.ngram)
                .enumerate()
                .find_map(|(at, ngram)| Some((at, *self.ngrams.get(ngram)?)))?;
            let said = units(text)[at..at + self.ngram].join(" ");
            let how = format!("{} ('{said}') of", counted(self.ngram, "word"));
            Some(self.contamination(part, &how, position as usize, None))
        };
        parts(task)
            .find_map(similar)
            .or_else(|| parts(task).find_map(shared))
    }

    fn contamination(&self, part: Part, how: &str, position: usize, score: Option<Score>) -> Contamination {
        let text = &self.texts[position];
        Contamination {
            origin: text.origin,
            score,
            detail: format!(
                "the {} has {how} an evaluation {}",
                part.as_str(),
                text.part.as_str()
            ),
        }
    }
}

/// The texts of a task that are compared: its instruction, and inputs that are long enough; each once.
fn parts(task: &Task) -> impl Iterator<Item = (Part, &str)> {
    let mut seen = HashSet::new();
    let inputs = task
        .instances
        .iter()
        .map(|instance| instance.input.as_str())
        .filter(move |input| units(input).len() >= SHORTEST_INPUT && seen.insert(*input))
        .map(|input| (Part::Input, input));
    std::iter::once((Part::Instruction, task.instruction.as_str())).chain(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Instance;

    fn task(instruction: &str, input: &str) -> Task {
        Task {
            instruction: instruction.into(),
            instances: vec![Instance {
                input: input.into(),
                output: "x".into(),
            }],
            ..Task::default()
        }
    }

    const PASSAGE: &str = "The ewe stood by the gate all night, and when the shepherd came at dawn she had two lambs \
                           under the hedge and a third in the ditch.";

    fn evaluation() -> Evaluation {
        let mut evaluation = Evaluation::new(Threshold::SELF_INSTRUCT, 13);
        evaluation.add(0, &task("Name the capital of Peru", "Peru"));
        evaluation.add(1, &task("How many lambs were there?", PASSAGE));
        evaluation
    }

    #[test]
    fn the_same_and_similar_texts_are_found_in_either_part() {
        let evaluation = evaluation();
        let found = evaluation.find(&task("name the capital of PERU!", "")).unwrap();
        assert_eq!((found.origin, found.score.unwrap().f1()), (0, 1.0));
        let found = evaluation
            .find(&task("Name the old capital of Peru", ""))
            .unwrap();
        assert_eq!((found.origin, found.score.unwrap().lcs), (0, 5));
        // What is an input there is found as an instruction here, and the other way about.
        assert_eq!(evaluation.find(&task(PASSAGE, "")).unwrap().origin, 1);
        let found = evaluation.find(&task("Sum this up", PASSAGE)).unwrap();
        assert_eq!(found.origin, 1);
        assert!(found.detail.starts_with("the input has"), "{}", found.detail);
    }

    #[test]
    fn thirteen_words_in_a_row_are_found_and_twelve_are_not() {
        let evaluation = evaluation();
        let quote = |words: usize| {
            let quoted: Vec<&str> = PASSAGE.split(' ').skip(4).take(words).collect();
            let around = "a tale of many other things that have to do with no animal of this kind at all";
            task(
                "Go on with the story",
                &format!("{around} {} {around}", quoted.join(" ")),
            )
        };
        let found = evaluation.find(&quote(13)).unwrap();
        assert_eq!((found.origin, found.score), (1, None));
        assert!(
            found.detail.contains("'the gate all night and"),
            "{}",
            found.detail
        );
        assert_eq!(evaluation.find(&quote(12)), None);
    }

    #[test]
    fn short_inputs_and_other_texts_are_nothing() {
        let evaluation = evaluation();
        assert_eq!(
            evaluation.find(&task("Where do potatoes come from?", "Peru")),
            None
        );
        assert_eq!(
            Evaluation::new(Threshold::SELF_INSTRUCT, 13).find(&task("Name it", "")),
            None
        );
    }
}
