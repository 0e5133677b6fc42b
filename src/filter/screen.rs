//! The verdict on task after task: the rules, evaluation data, then near-duplicates among what was kept before. First
//! come, first kept.

use super::decontaminate::Evaluation;
use super::index::{Index, Neighbor};
use super::rouge::{Score, Threshold};
use super::rules::{RuleSet, same_text};
use crate::task::Task;
use rayon::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashSet;

/// Reason code of a task that is too similar to one that was kept before.
pub const NEAR_DUPLICATE: &str = "near_duplicate";
/// Reason code of a task that has something in common with an evaluation file.
pub const CONTAMINATED: &str = "contaminated";

/// Judges batches of tasks; what it decides does not depend on how they are cut into batches.
pub struct Screen {
    rules: RuleSet,
    index: Index,
    /// Where the texts of the index come from.
    places: Vec<Place>,
    /// Apart from the index when the rules ask for more than near-duplicates.
    evaluation: Option<Evaluation>,
    /// Where the tasks of `evaluation` come from.
    evaluated: Vec<Place>,
    /// The inputs of what is kept, each with the place in the index of its instruction.
    inputs: HashSet<(u32, u64)>,
    /// Look for the most similar of every task, not of duplicates only.
    nearest: bool,
}

/// Where a task stands: which of the caller's sources, and which row of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The caller's number for a file or a dataset.
    pub source: u32,
    /// A row counted from 0, or an id.
    pub row: u32,
}

/// A task to be judged.
pub struct Candidate<'a> {
    /// Where it stands.
    pub place: Place,
    /// The task.
    pub task: &'a Task,
    /// Whether it stays whatever the verdict says: somebody has decided so.
    pub certain: bool,
}

/// What the judge says.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Why it is rejected; none when it is accepted.
    pub reason: Option<&'static str>,
    /// What exactly was found; may be empty.
    pub detail: String,
    /// What it is too similar to.
    pub nearest: Option<Place>,
    /// ROUGE-L F1 with that.
    pub score: Option<Score>,
}

impl Verdict {
    /// Nothing speaks against it.
    fn accepted() -> Verdict {
        Verdict {
            reason: None,
            detail: String::new(),
            nearest: None,
            score: None,
        }
    }

    /// A rejection that has to do with no other task.
    pub fn rejected(reason: &'static str, detail: String) -> Verdict {
        Verdict {
            reason: Some(reason),
            detail,
            nearest: None,
            score: None,
        }
    }

    /// The row of a file of verdicts: `row`, `verdict`, `reason`, `nearest`, `rouge_l`, and `detail` where there is
    /// something to say. `source` names a place's source.
    pub fn to_json(&self, row: u64, source: impl Fn(u32) -> String) -> Value {
        let mut json = json!({
            "row": row,
            "verdict": if self.reason.is_some() { "rejected" } else { "accepted" },
            "reason": self.reason,
            "nearest": self.nearest.map(|place| json!({"source": source(place.source), "row": place.row})),
            "rouge_l": self.score.map(Score::f1),
        });
        if !self.detail.is_empty() {
            json["detail"] = self.detail.as_str().into();
        }
        json
    }
}

impl Screen {
    /// Nothing is kept yet. With `nearest` the most similar task is named in every verdict, not in rejections as
    /// near-duplicates only.
    pub fn new(rules: RuleSet, threshold: Threshold, nearest: bool) -> Screen {
        let evaluation = rules
            .decontaminate()
            .map(|ngram| Evaluation::new(threshold, ngram));
        Screen {
            rules,
            index: Index::new(threshold),
            places: Vec::new(),
            evaluation,
            evaluated: Vec::new(),
            inputs: HashSet::new(),
            nearest,
        }
    }

    /// Adds a task that nothing may be similar to, though it is not among those judged.
    pub fn add_against(&mut self, place: Place, task: &Task) {
        match &mut self.evaluation {
            Some(evaluation) => {
                evaluation.add(self.evaluated.len(), task);
                self.evaluated.push(place);
            }
            None => {
                self.index.push(&task.instruction);
                self.places.push(place);
            }
        }
    }

    /// The verdicts on tasks, in order. Tasks that are accepted or certain are kept: later ones are compared with them.
    pub fn judge(&mut self, candidates: &[Candidate<'_>]) -> Vec<Verdict> {
        let mut verdicts: Vec<Option<Verdict>> = candidates
            .par_iter()
            .map(|candidate| self.judge_alone(candidate.task))
            .collect();
        let in_question: Vec<usize> = (0..candidates.len())
            .filter(|&i| verdicts[i].is_none() || candidates[i].certain)
            .collect();
        let texts: Vec<&str> = in_question
            .iter()
            .map(|&i| candidates[i].task.instruction.as_str())
            .collect();
        let near = self.index.admit(&texts, |i| candidates[in_question[i]].certain);
        let kept_before = self.places.len();
        // How many were kept when it was a task's turn.
        let mut turns = vec![kept_before; candidates.len()];
        let mut near = in_question.iter().zip(near).peekable();
        for (i, candidate) in candidates.iter().enumerate() {
            turns[i] = self.places.len();
            let Some((_, near)) = near.next_if(|(at, _)| **at == i) else {
                continue;
            };
            if near.is_none() || candidate.certain {
                self.keep_inputs(self.places.len(), candidate.task);
                self.places.push(candidate.place);
            }
            if verdicts[i].is_none() {
                verdicts[i] = near
                    .filter(|near| !self.is_another_instance(candidate, near))
                    .map(|near| self.near_duplicate(near));
            }
        }
        let mut verdicts: Vec<Verdict> = verdicts
            .into_iter()
            .map(|verdict| verdict.unwrap_or_else(Verdict::accepted))
            .collect();
        if self.nearest {
            self.name_nearest(candidates, &turns, &mut verdicts);
        }
        verdicts
    }

    /// Names the most similar task in verdicts that name none, among as many as were kept when it was the task's turn.
    fn name_nearest(&mut self, candidates: &[Candidate<'_>], turns: &[usize], verdicts: &mut [Verdict]) {
        let unnamed: Vec<usize> = (0..verdicts.len())
            .filter(|&i| verdicts[i].nearest.is_none())
            .collect();
        let queries: Vec<(&str, usize)> = unnamed
            .iter()
            .map(|&i| (candidates[i].task.instruction.as_str(), turns[i]))
            .collect();
        for (i, near) in unnamed.into_iter().zip(self.index.nearest(&queries, 1)) {
            verdicts[i].nearest = near.first().map(|near| self.places[near.position]);
            verdicts[i].score = near.first().map(|near| near.score);
        }
    }

    /// What speaks against a task whatever else was kept.
    fn judge_alone(&self, task: &Task) -> Option<Verdict> {
        if let Some(objection) = self.rules.judge_task(task) {
            return Some(Verdict::rejected(objection.reason, objection.detail));
        }
        let found = self.evaluation.as_ref()?.find(task)?;
        Some(Verdict {
            reason: Some(CONTAMINATED),
            detail: found.detail,
            nearest: Some(self.evaluated[found.origin]),
            score: found.score,
        })
    }

    /// Whether a task has the words of one of its own source that was kept, and other inputs than all that were kept with
    /// them: then the two are instances of one task, as a dataset has them, and the inputs are kept.
    fn is_another_instance(&mut self, candidate: &Candidate<'_>, near: &Neighbor) -> bool {
        let has_its_words = 2 * near.score.lcs == near.score.total;
        if !has_its_words || self.places[near.position].source != candidate.place.source {
            return false;
        }
        let position = near.position as u32;
        let is_there = |input| self.inputs.contains(&(position, input));
        if candidate.task.instances.is_empty() || inputs(candidate.task).into_iter().any(is_there) {
            return false;
        }
        self.keep_inputs(near.position, candidate.task);
        true
    }

    fn keep_inputs(&mut self, position: usize, task: &Task) {
        let position = position as u32;
        self.inputs
            .extend(inputs(task).into_iter().map(|input| (position, input)));
    }

    fn near_duplicate(&self, near: Neighbor) -> Verdict {
        Verdict {
            reason: Some(NEAR_DUPLICATE),
            detail: String::new(),
            nearest: Some(self.places[near.position]),
            score: Some(near.score),
        }
    }
}

/// The inputs of a task, each as the beginning of its hash: equal where they are to be the same in a dataset. 64 bits of
/// SHA-256 are enough where only inputs of equal instructions are compared. An instruction alone is one without input.
fn inputs(task: &Task) -> Vec<u64> {
    let hash = |input: &str| {
        let hash = Sha256::digest(same_text(input));
        u64::from_le_bytes(hash[..8].try_into().expect("a hash is longer"))
    };
    if task.instances.is_empty() {
        return vec![hash("")];
    }
    task.instances
        .iter()
        .map(|instance| hash(&instance.input))
        .collect()
}
