//! Finds tasks that appear in evaluation files, so that no model is trained on what it is measured
//! by.
//!
//! A task is contaminated if its instruction or one of its inputs matches an instruction or input
//! of an evaluation file: the same text, n consecutive words in common (13 as in Brown et al. 2020,
//! "Language models are few-shot learners", appendix C), or ROUGE-L F1 above the threshold, as
//! Self-Instruct compares tasks.

use super::Index;
use super::rouge::Threshold;
use super::vocabulary::Vocabulary;
use super::words::units;
use crate::task::{Nearest, Reason, Task, TaskRef, Verdict};
use crate::text::counted;
use std::collections::HashSet;

/// Inputs of fewer words, such as names, numbers and labels, may be equal by chance.
const SHORTEST_INPUT: usize = 8;

/// The instructions and inputs of evaluation files.
#[derive(Debug)]
pub struct Evaluation {
    ngram: usize,
    /// Whose texts these are, in the details of verdicts.
    whose: &'static str,
    index: Index,
    vocabulary: Vocabulary,
    /// By position in the index.
    texts: Vec<EvaluationText>,
    /// n-grams, each with the first text that contains it.
    ngrams: std::collections::HashMap<Box<[u32]>, u32, foldhash::fast::RandomState>,
}

#[derive(Debug)]
struct EvaluationText {
    task: TaskRef,
    part: ComparedPart,
}

/// A part of a task that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ComparedPart {
    Instruction,
    Input,
}

impl ComparedPart {
    fn as_str(self) -> &'static str {
        match self {
            ComparedPart::Instruction => "instruction",
            ComparedPart::Input => "input",
        }
    }
}

impl Evaluation {
    /// Starts without evaluation data. `ngram`, at least 1, is the number of consecutive common
    /// words that makes a task contaminated.
    pub fn new(threshold: Threshold, ngram: usize) -> Evaluation {
        Evaluation {
            ngram,
            whose: "an evaluation",
            index: Index::new(threshold),
            vocabulary: Vocabulary::default(),
            texts: Vec::new(),
            ngrams: Default::default(),
        }
    }

    /// Starts without training data, to look for evaluation tasks in it: the same search, from the
    /// other side.
    pub fn of_training_data(threshold: Threshold, ngram: usize) -> Evaluation {
        Evaluation {
            whose: "a training",
            ..Evaluation::new(threshold, ngram)
        }
    }

    /// Adds a task of an evaluation file.
    pub fn add(&mut self, task_ref: TaskRef, task: &Task) {
        for (part, text) in parts(task) {
            let position = self.texts.len() as u32;
            self.texts.push(EvaluationText { task: task_ref, part });
            self.index.push(text);
            let mut encoded = self.vocabulary.look_up(text);
            self.vocabulary.add(&mut encoded);
            for ngram in encoded.words.windows(self.ngram) {
                self.ngrams.entry(ngram.into()).or_insert(position);
            }
        }
    }

    /// Rejects a task that has text in common with an evaluation file. Looks for the same or a
    /// similar text first, then for an n-gram; each in the instruction first, then in the inputs.
    pub fn check(&self, task: &Task) -> Verdict {
        if self.texts.is_empty() {
            return Verdict::accepted();
        }
        let similar = |(part, text): (ComparedPart, &str)| {
            let near = self.index.duplicate(text, self.index.len())?;
            let how = match 2 * near.score.lcs == near.score.total {
                true => "the words of".to_string(),
                false => format!("ROUGE-L {:.3} with", near.score.f1()),
            };
            Some(self.contaminated(part, &how, near.position, Some(near.score.f1())))
        };
        let shared = |(part, text): (ComparedPart, &str)| {
            let encoded = self.vocabulary.look_up(text);
            let (at, position) = encoded
                .words
                .windows(self.ngram)
                .enumerate()
                .find_map(|(at, ngram)| Some((at, *self.ngrams.get(ngram)?)))?;
            let said = units(text)[at..at + self.ngram].join(" ");
            let how = format!("{} ('{said}') of", counted(self.ngram, "word"));
            Some(self.contaminated(part, &how, position as usize, None))
        };
        parts(task)
            .find_map(similar)
            .or_else(|| parts(task).find_map(shared))
            .unwrap_or_default()
    }

    fn contaminated(&self, part: ComparedPart, how: &str, position: usize, rouge_l: Option<f64>) -> Verdict {
        let EvaluationText { task, part: other } = self.texts[position];
        Verdict {
            reason: Some(Reason::Contaminated),
            detail: format!(
                "the {} has {how} {} {}",
                part.as_str(),
                self.whose,
                other.as_str()
            ),
            nearest: Some(Nearest { task, rouge_l }),
        }
    }
}

/// The parts of a task that are compared: the instruction, and each distinct input that is long
/// enough.
fn parts(task: &Task) -> impl Iterator<Item = (ComparedPart, &str)> {
    let mut seen = HashSet::new();
    let inputs = task
        .instances
        .iter()
        .map(|instance| instance.input.as_str())
        .filter(move |input| units(input).len() >= SHORTEST_INPUT && seen.insert(*input))
        .map(|input| (ComparedPart::Input, input));
    std::iter::once((ComparedPart::Instruction, task.instruction.as_str())).chain(inputs)
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
        evaluation.add(row(0), &task("Name the capital of Peru", "Peru"));
        evaluation.add(row(1), &task("How many lambs were there?", PASSAGE));
        evaluation
    }

    fn row(row: u32) -> TaskRef {
        TaskRef::Row { file: 1, row }
    }

    /// The evaluation task that a task matches and their ROUGE-L F1, with the detail.
    fn found(evaluation: &Evaluation, task: &Task) -> Option<(TaskRef, Option<f64>, String)> {
        let verdict = evaluation.check(task);
        let reason = verdict.nearest.map(|_| Reason::Contaminated);
        assert_eq!(verdict.reason, reason);
        let Nearest { task, rouge_l } = verdict.nearest?;
        Some((task, rouge_l, verdict.detail))
    }

    #[test]
    fn the_same_and_similar_texts_are_found_in_either_part() {
        let evaluation = evaluation();
        let (of, rouge_l, _) = found(&evaluation, &task("name the capital of PERU!", "")).unwrap();
        assert_eq!((of, rouge_l), (row(0), Some(1.0)));
        // 5 of 5 and 6 words are shared.
        let (of, rouge_l, _) = found(&evaluation, &task("Name the old capital of Peru", "")).unwrap();
        assert_eq!((of, rouge_l), (row(0), Some(10.0 / 11.0)));
        // An evaluation input is found in an instruction, and the other way round.
        assert_eq!(found(&evaluation, &task(PASSAGE, "")).unwrap().0, row(1));
        let (of, _, detail) = found(&evaluation, &task("Sum this up", PASSAGE)).unwrap();
        assert_eq!(of, row(1));
        assert!(detail.starts_with("the input has"), "{detail}");
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
        let (of, rouge_l, detail) = found(&evaluation, &quote(13)).unwrap();
        assert_eq!((of, rouge_l), (row(1), None));
        assert!(detail.contains("'the gate all night and"), "{detail}");
        assert_eq!(found(&evaluation, &quote(12)), None);
    }

    #[test]
    fn short_inputs_and_other_texts_are_nothing() {
        let evaluation = evaluation();
        assert_eq!(
            found(&evaluation, &task("Where do potatoes come from?", "Peru")),
            None
        );
        let nothing = Evaluation::new(Threshold::SELF_INSTRUCT, 13);
        assert_eq!(found(&nothing, &task("Name it", "")), None);
    }
}
