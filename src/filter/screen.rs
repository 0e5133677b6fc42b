//! Gives verdicts on tasks in order: rules, evaluation data, then near-duplicates among the tasks
//! kept before. Of similar tasks, the first one is kept.

use super::decontaminate::Evaluation;
use super::index::{Index, SimilarText};
use super::rouge::Threshold;
use super::rules::{RuleSet, same_text};
use crate::task::{Nearest, Task, TaskRef, Verdict};
use rayon::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashSet;

/// Screens batches of tasks. The verdicts do not depend on how tasks are split into batches.
pub struct Screen {
    rules: RuleSet,
    index: Index,
    /// The task of each text of the index.
    kept: Vec<TaskRef>,
    /// Evaluation data, if the rules compare more than similarity. Without it, evaluation tasks are
    /// in `index`.
    evaluation: Option<Evaluation>,
    /// Hashes of the inputs of kept tasks, each with the position of their instruction in the
    /// index.
    inputs: HashSet<(u32, u64)>,
    /// Whether all verdicts name the nearest task, not only those on near-duplicates.
    nearest: bool,
}

/// A task to screen.
pub struct Submission<'a> {
    /// How verdicts refer to it.
    pub task_ref: TaskRef,
    /// The task.
    pub task: &'a Task,
    /// Whether it stays whatever the verdict, because a person accepted it.
    pub is_certain: bool,
}

/// A row of a file of verdicts: `row`, `verdict`, `reason`, `nearest`, `rouge_l`, and `detail`
/// unless it is empty. `source` returns the name of a task's file or dataset, and the task's number
/// there.
pub fn verdict_row(verdict: &Verdict, row: u64, source: impl Fn(TaskRef) -> (String, i64)) -> Value {
    let nearest = verdict.nearest.map(|nearest| {
        let (source, row) = source(nearest.task);
        json!({"source": source, "row": row})
    });
    let mut json = json!({
        "row": row,
        "verdict": verdict.as_str(),
        "reason": verdict.reason,
        "nearest": nearest,
        "rouge_l": verdict.nearest.and_then(|nearest| nearest.rouge_l),
    });
    if !verdict.detail.is_empty() {
        json["detail"] = verdict.detail.as_str().into();
    }
    json
}

impl Screen {
    /// Starts with nothing kept. With `nearest`, every verdict names the most similar task.
    pub fn new(rules: RuleSet, threshold: Threshold, nearest: bool) -> Screen {
        let evaluation = rules
            .decontaminate()
            .map(|ngram| Evaluation::new(threshold, ngram));
        Screen {
            rules,
            index: Index::new(threshold),
            kept: Vec::new(),
            evaluation,
            inputs: HashSet::new(),
            nearest,
        }
    }

    /// Adds a task that no screened task may be similar to.
    pub fn add_against(&mut self, task_ref: TaskRef, task: &Task) {
        match &mut self.evaluation {
            Some(evaluation) => evaluation.add(task_ref, task),
            None => {
                self.index.push(&task.instruction);
                self.kept.push(task_ref);
            }
        }
    }

    /// Returns the verdicts on tasks, in order. Keeps the tasks that are accepted or certain: later
    /// ones are compared with them.
    pub fn verdicts(&mut self, submissions: &[Submission<'_>]) -> Vec<Verdict> {
        let mut verdicts: Vec<Verdict> = submissions
            .par_iter()
            .map(|submission| self.check_alone(submission.task))
            .collect();
        let open: Vec<usize> = (0..submissions.len())
            .filter(|&i| verdicts[i].is_accepted() || submissions[i].is_certain)
            .collect();
        let texts: Vec<&str> = open
            .iter()
            .map(|&i| submissions[i].task.instruction.as_str())
            .collect();
        let near = self.index.admit(&texts, |i| submissions[open[i]].is_certain);
        let mut near = open.iter().zip(near).peekable();
        // For each task, how many were kept before it.
        let mut kept_before = vec![self.kept.len(); submissions.len()];
        for (i, submission) in submissions.iter().enumerate() {
            kept_before[i] = self.kept.len();
            let Some((_, near)) = near.next_if(|(at, _)| **at == i) else {
                continue;
            };
            if near.is_none() || submission.is_certain {
                self.keep_inputs(self.kept.len(), submission.task);
                self.kept.push(submission.task_ref);
            }
            if verdicts[i].is_accepted()
                && let Some(near) = near
                && !self.is_another_instance(submission, &near)
            {
                verdicts[i] = Verdict::near_duplicate(self.kept[near.position], near.score.f1());
            }
        }
        if self.nearest {
            self.name_nearest(submissions, &kept_before, &mut verdicts);
        }
        verdicts
    }

    /// Returns which tasks are near-duplicates of tasks kept before, and keeps none of them. Rules
    /// and evaluation data are not asked.
    pub fn near_duplicates(&mut self, submissions: &[Submission<'_>]) -> Vec<Verdict> {
        let texts: Vec<&str> = submissions
            .iter()
            .map(|submission| submission.task.instruction.as_str())
            .collect();
        let near = self.index.duplicates(&texts, self.index.len());
        let verdict = |(submission, near): (&Submission<'_>, Option<SimilarText>)| match near {
            Some(near) if !self.is_another_instance(submission, &near) => {
                Verdict::near_duplicate(self.kept[near.position], near.score.f1())
            }
            _ => Verdict::accepted(),
        };
        submissions.iter().zip(near).map(verdict).collect()
    }

    /// Adds the most similar task to the verdicts that name none, among those kept before each
    /// task.
    fn name_nearest(
        &mut self,
        submissions: &[Submission<'_>],
        kept_before: &[usize],
        verdicts: &mut [Verdict],
    ) {
        let unnamed: Vec<usize> = (0..verdicts.len())
            .filter(|&i| verdicts[i].nearest.is_none())
            .collect();
        let queries: Vec<(&str, usize)> = unnamed
            .iter()
            .map(|&i| (submissions[i].task.instruction.as_str(), kept_before[i]))
            .collect();
        for (i, near) in unnamed.into_iter().zip(self.index.nearest(&queries, 1)) {
            verdicts[i].nearest = near.first().map(|near| Nearest {
                task: self.kept[near.position],
                rouge_l: Some(near.score.f1()),
            });
        }
    }

    /// Checks a task against the rules and the evaluation data, which does not depend on the tasks
    /// kept.
    fn check_alone(&self, task: &Task) -> Verdict {
        self.rules.check_task(task).or_else(|| match &self.evaluation {
            Some(evaluation) => evaluation.check(task),
            None => Verdict::accepted(),
        })
    }

    /// Whether a near-duplicate is in fact another instance of a kept task: it has the words and
    /// the source of that task, and no input kept with it. Then its inputs are kept as well.
    fn is_another_instance(&mut self, submission: &Submission<'_>, near: &SimilarText) -> bool {
        let has_same_words = 2 * near.score.lcs == near.score.total;
        if !has_same_words || !self.kept[near.position].has_source_of(submission.task_ref) {
            return false;
        }
        let position = near.position as u32;
        let is_there = |input| self.inputs.contains(&(position, input));
        if submission.task.instances.is_empty() || inputs(submission.task).into_iter().any(is_there) {
            return false;
        }
        self.keep_inputs(near.position, submission.task);
        true
    }

    fn keep_inputs(&mut self, position: usize, task: &Task) {
        let position = position as u32;
        self.inputs
            .extend(inputs(task).into_iter().map(|input| (position, input)));
    }
}

/// The inputs of a task as 64 bits of SHA-256 each, equal if a dataset treats the inputs as equal.
/// A short hash suffices, since only inputs of equal instructions are compared. A task without
/// instances counts as one with an empty input.
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
