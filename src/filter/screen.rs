//! Gives verdicts on tasks in order: rules, evaluation data, then near-duplicates among the tasks
//! kept before. Of similar tasks, the first one is kept.

use super::compared::Compared;
use super::decontaminate::Evaluation;
use super::index::{SimilarText, Stay};
use super::kept::{Kept, inputs};
use super::rouge::Threshold;
use super::rules::RuleSet;
use crate::task::{Nearest, Task, TaskRef, Verdict};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::borrow::Cow;

/// What a task is checked for without the tasks kept: the rules and the evaluation data.
pub struct Checks {
    rules: RuleSet,
    /// Evaluation data, if the rules compare more than similarity. Without it, evaluation tasks are
    /// among those kept.
    evaluation: Option<Evaluation>,
    compared: Compared,
}

impl Checks {
    /// Starts without evaluation data.
    pub fn new(rules: RuleSet, threshold: Threshold) -> Checks {
        let evaluation = rules
            .decontaminate()
            .map(|ngram| Evaluation::new(threshold, ngram));
        Checks {
            rules,
            evaluation,
            compared: Compared::default(),
        }
    }

    /// Compares this of conversations for near-duplicates.
    pub fn comparing(self, compared: Compared) -> Checks {
        Checks { compared, ..self }
    }

    /// Returns the text of a task that is compared for near-duplicates.
    pub fn text(&self, task: &Task) -> String {
        self.compared.text(task).into_owned()
    }

    /// Adds a task that no checked task may be similar to; or to `kept`, if the rules compare
    /// nothing more than similarity.
    pub fn add_against(&mut self, kept: &mut Kept, task_ref: TaskRef, task: &Task) {
        match &mut self.evaluation {
            Some(evaluation) => evaluation.add(task_ref, task),
            None => {
                kept.index.push(&self.compared.text(task));
                kept.tasks.push(task_ref);
            }
        }
    }

    /// Checks a task against the rules and the evaluation data, which does not depend on the tasks
    /// kept.
    pub fn check(&self, task: &Task) -> Verdict {
        self.rules.check_task(task).or_else(|| match &self.evaluation {
            Some(evaluation) => evaluation.check(task),
            None => Verdict::accepted(),
        })
    }
}

/// Screens batches of tasks. The verdicts do not depend on how tasks are split into batches.
pub struct Screen {
    checks: Checks,
    kept: Kept,
    /// Whether all verdicts name the nearest task, not only those on near-duplicates.
    nearest: bool,
    /// Whether tasks are compared with evaluation data only, not with one another.
    is_apart: bool,
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
        Screen {
            checks: Checks::new(rules, threshold),
            kept: Kept::new(threshold),
            nearest,
            is_apart: false,
        }
    }

    /// Compares this of conversations for near-duplicates.
    pub fn comparing(self, compared: Compared) -> Screen {
        Screen {
            checks: self.checks.comparing(compared),
            ..self
        }
    }

    /// Compares tasks with those of [`Screen::add_against`] only, not with one another: none that
    /// is screened is kept.
    pub fn apart(self) -> Screen {
        Screen {
            is_apart: true,
            ..self
        }
    }

    /// Adds a task that no screened task may be similar to.
    pub fn add_against(&mut self, task_ref: TaskRef, task: &Task) {
        self.checks.add_against(&mut self.kept, task_ref, task);
    }

    /// About how many bytes of memory the tasks kept take, without evaluation data and what naming
    /// the nearest task needs.
    pub fn bytes(&self) -> usize {
        self.kept.bytes()
    }

    /// Returns the verdicts on tasks, in order. Keeps the tasks that are accepted or certain: later
    /// ones are compared with them.
    pub fn verdicts(&mut self, submissions: &[Submission<'_>]) -> Vec<Verdict> {
        let mut verdicts: Vec<Verdict> = submissions
            .par_iter()
            .map(|submission| self.checks.check(submission.task))
            .collect();
        let open: Vec<usize> = (0..submissions.len())
            .filter(|&i| verdicts[i].is_accepted() || submissions[i].is_certain)
            .collect();
        let compared = self.checks.compared;
        let texts: Vec<Cow<'_, str>> = open.iter().map(|&i| compared.text(submissions[i].task)).collect();
        let is_apart = self.is_apart;
        let near = self
            .kept
            .index
            .admit_as(&texts, |i| match submissions[open[i]].is_certain {
                _ if is_apart => Stay::Never,
                true => Stay::Always,
                false => Stay::IfNew,
            });
        let mut near = open.iter().zip(near).peekable();
        // For each task, how many were kept before it.
        let mut kept_before = vec![self.kept.tasks.len(); submissions.len()];
        for (i, submission) in submissions.iter().enumerate() {
            kept_before[i] = self.kept.tasks.len();
            let Some((_, near)) = near.next_if(|(at, _)| **at == i) else {
                continue;
            };
            if !is_apart && (near.is_none() || submission.is_certain) {
                let position = self.kept.tasks.len();
                self.kept.keep_inputs(position, &inputs(submission.task));
                self.kept.tasks.push(submission.task_ref);
            }
            if verdicts[i].is_accepted()
                && let Some(near) = near
                && !self.is_another_instance(submission, &near)
            {
                verdicts[i] = Verdict::near_duplicate(self.kept.tasks[near.position], near.score.f1());
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
        let compared = self.checks.compared;
        let texts: Vec<Cow<'_, str>> = submissions
            .iter()
            .map(|submission| compared.text(submission.task))
            .collect();
        let near = self.kept.index.duplicates(&texts, self.kept.index.len());
        let verdict = |(submission, near): (&Submission<'_>, Option<SimilarText>)| match near {
            Some(near) if !self.is_another_instance(submission, &near) => {
                Verdict::near_duplicate(self.kept.tasks[near.position], near.score.f1())
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
        let compared = self.checks.compared;
        let texts: Vec<Cow<'_, str>> = unnamed
            .iter()
            .map(|&i| compared.text(submissions[i].task))
            .collect();
        let queries: Vec<(&str, usize)> = texts
            .iter()
            .zip(&unnamed)
            .map(|(text, &i)| (&**text, kept_before[i]))
            .collect();
        for (i, near) in unnamed.into_iter().zip(self.kept.index.nearest(&queries, 1)) {
            verdicts[i].nearest = near.first().map(|near| Nearest {
                task: self.kept.tasks[near.position],
                rouge_l: Some(near.score.f1()),
            });
        }
    }

    /// Whether a near-duplicate is in fact another instance of a kept task.
    fn is_another_instance(&mut self, submission: &Submission<'_>, near: &SimilarText) -> bool {
        // Hashes are needed of few, and cost more than the comparison.
        2 * near.score.lcs == near.score.total
            && self
                .kept
                .is_another_instance(submission.task_ref, &inputs(submission.task), near)
    }
}
