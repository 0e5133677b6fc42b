//! Which tasks: one filter for lists, search, bulk actions, the page and export.
//!
//! Its conditions are put together when it is asked (see `way.rs`), from fixed texts with places for values: SQLite uses no index where
//! a query says `? IS NULL OR column = ?`, and a list of a million tasks is to begin at once.

use super::{
    fts,
    sql::{Sql, Value},
};
use crate::task::{Origin, Review};

/// The longest label, in characters. Longer answers are texts, and not in the index of labels.
pub const LONGEST_LABEL: usize = 64;

/// Which tasks. Every field that is set narrows the choice; ranges include both ends.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Only tasks of this review.
    pub review: Option<Review>,
    /// Only tasks of this origin.
    pub origin: Option<Origin>,
    /// Only tasks that this run brought in.
    pub run_id: Option<i64>,
    /// Only tasks whose answer is one of a few labels, or only the others.
    pub is_classification: Option<bool>,
    /// Only classification tasks with this answer in one of their instances, upper and lower case alike. At most
    /// [`LONGEST_LABEL`] characters; a longer one is nobody's label.
    pub label: Option<String>,
    /// Only tasks with at least so many characters in instruction, inputs and outputs.
    pub min_length: Option<i64>,
    /// Only tasks with at most so many characters.
    pub max_length: Option<i64>,
    /// Only tasks whose ROUGE-L with the nearest task is at least this, 0 to 1.
    pub min_similarity: Option<f64>,
    /// Only tasks whose ROUGE-L with the nearest task is at most this.
    pub max_similarity: Option<f64>,
    /// Only tasks whose score is at least this, 1 to 5: of a task's instances the one with the lowest mean counts.
    pub min_score: Option<f64>,
    /// Only tasks whose score is at most this.
    pub max_score: Option<f64>,
    /// Only tasks that this rule speaks against, by its reason code: those rejected for it (the reason that was given
    /// begins with it), and those of which an instance was turned away for it when it was generated.
    pub reason: Option<String>,
    /// Only tasks with these words in instruction, input or output: see [`fts`].
    pub text: Option<String>,
}

/// A part of a filter.
#[derive(Debug, Clone)]
pub(in crate::store) struct Condition {
    /// What it is about.
    pub column: Column,
    /// True of a row of `task`. Each `?` is a value; a `+` keeps SQLite from the column's index.
    pub row: &'static str,
    /// The ids of all such tasks, through an index, for the same values. None where there is no index.
    pub ids: Option<&'static str>,
    /// For the places.
    pub values: Vec<Value>,
    /// How many ids there are; none where they were not counted, or are too many to count.
    pub count: Option<i64>,
}

/// What a condition is about, as far as that makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Column {
    /// `task.review`
    Review,
    /// `task.origin`
    Origin,
    /// `task.run_id`
    Run,
    /// The index of words.
    Text,
    /// `instance.output`
    Label,
    /// `revision.note` and `candidate.reason`.
    Reason,
    /// `task.length`
    Length,
    /// `task.nearest_rouge_l`
    Similarity,
    /// `task.score`
    Score,
    /// `task.is_classification`
    Classification,
    /// No task at all.
    Nothing,
}

impl Condition {
    /// A row for each such task, or more, that is quick to count; the same values.
    pub(in crate::store) fn counted(&self) -> Option<&'static str> {
        match self.column {
            Column::Reason => Some(
                "SELECT 1
                FROM revision INDEXED BY revision_by_note
                WHERE note >= ? AND note < ? || char(1114111) AND action <> 'import'
                UNION ALL
                SELECT 1
                FROM candidate INDEXED BY candidate_instance_by_reason
                WHERE kind = 'instance'
                    AND verdict = 'rejected'
                    AND reason <> 'instruction_rejected'
                    AND reason BETWEEN ? AND ?",
            ),
            _ => self.ids,
        }
    }
}

impl Filter {
    /// Whether it lets every task through.
    pub fn is_empty(&self) -> bool {
        self.conditions().is_empty()
    }

    /// Adds ` AND …` for each of its parts, as conditions on rows of `task` that are there already.
    pub(in crate::store) fn push_rows(&self, sql: &mut Sql) {
        for condition in self.conditions() {
            sql.push(" AND ").push(condition.row).values(&condition.values);
        }
    }

    /// Its parts; none is counted yet.
    pub(in crate::store) fn conditions(&self) -> Vec<Condition> {
        let mut found = Vec::new();
        let mut push = |column, row, ids, values| {
            found.push(Condition {
                column,
                row,
                ids,
                values,
                count: None,
            });
        };
        if let Some(review) = self.review {
            push(
                Column::Review,
                "+task.review = ?",
                Some("SELECT id FROM task WHERE review = ?"),
                vec![review.as_str().into()],
            );
        }
        if let Some(origin) = self.origin {
            push(
                Column::Origin,
                "+task.origin = ?",
                Some("SELECT id FROM task WHERE origin = ?"),
                vec![origin.as_str().into()],
            );
        }
        if let Some(run_id) = self.run_id {
            push(
                Column::Run,
                "+task.run_id = ?",
                Some("SELECT id FROM task WHERE run_id = ?"),
                vec![run_id.into()],
            );
        }
        match self.is_classification {
            Some(true) => push(
                Column::Classification,
                "+task.is_classification = 1",
                Some("SELECT id FROM task WHERE is_classification = 1"),
                Vec::new(),
            ),
            // Only classification tasks have labels.
            Some(false) if self.label.is_some() => push(
                Column::Nothing,
                "+task.is_classification IS NULL",
                Some("SELECT id FROM task WHERE 0"),
                Vec::new(),
            ),
            Some(false) => push(
                Column::Classification,
                "+task.is_classification = 0",
                None,
                Vec::new(),
            ),
            None => {}
        }
        if let Some(label) = &self.label {
            push(
                Column::Classification,
                "+task.is_classification = 1",
                Some("SELECT id FROM task WHERE is_classification = 1"),
                Vec::new(),
            );
            push(
                Column::Label,
                "EXISTS (
                    SELECT 1
                    FROM instance
                    WHERE instance.task_id = task.id
                        AND instance.output = ? COLLATE NOCASE
                        AND length(instance.output) <= 64
                )",
                Some(
                    "SELECT task_id
                    FROM instance INDEXED BY instance_by_label
                    WHERE output = ? COLLATE NOCASE AND length(output) <= 64",
                ),
                vec![label.as_str().into()],
            );
        }
        if self.min_length.is_some() || self.max_length.is_some() {
            push(
                Column::Length,
                "+task.length BETWEEN ? AND ?",
                Some("SELECT id FROM task WHERE length BETWEEN ? AND ?"),
                vec![
                    self.min_length.unwrap_or(0).into(),
                    self.max_length.unwrap_or(i64::MAX).into(),
                ],
            );
        }
        if self.min_similarity.is_some() || self.max_similarity.is_some() {
            push(
                Column::Similarity,
                "+task.nearest_rouge_l BETWEEN ? AND ?",
                Some("SELECT id FROM task WHERE nearest_rouge_l BETWEEN ? AND ?"),
                vec![
                    self.min_similarity.unwrap_or(0.0).into(),
                    self.max_similarity.unwrap_or(1.0).into(),
                ],
            );
        }
        if self.min_score.is_some() || self.max_score.is_some() {
            push(
                Column::Score,
                "+task.score BETWEEN ? AND ?",
                Some("SELECT id FROM task WHERE score BETWEEN ? AND ?"),
                vec![
                    self.min_score.unwrap_or(1.0).into(),
                    self.max_score.unwrap_or(5.0).into(),
                ],
            );
        }
        if let Some(reason) = &self.reason {
            let reason = reason.trim();
            // After a code follows what it was about, as in `near_duplicate of task 12`.
            push(
                Column::Reason,
                "(
                    +task.review = 'rejected'
                    AND EXISTS (
                        SELECT 1
                        FROM revision
                        WHERE revision.task_id = task.id
                            AND revision.action = 'reject'
                            AND substr(revision.note, 1, length(?)) = ?
                            AND substr(revision.note, length(?) + 1, 1) NOT GLOB '[a-z0-9_]'
                    )
                    OR EXISTS (
                        SELECT 1
                        FROM candidate AS parent INDEXED BY candidate_by_task
                        CROSS JOIN candidate INDEXED BY candidate_by_round
                            ON candidate.round = parent.round AND candidate.parent_id = parent.id
                        WHERE parent.task_id = task.id
                            AND candidate.kind = 'instance'
                            AND candidate.verdict = 'rejected'
                            AND candidate.reason = ?
                    )
                )",
                Some(
                    "SELECT task.id
                    FROM revision INDEXED BY revision_by_note
                    CROSS JOIN task ON task.id = revision.task_id
                    WHERE revision.note >= ?
                        AND revision.note < ? || char(1114111)
                        AND substr(revision.note, length(?) + 1, 1) NOT GLOB '[a-z0-9_]'
                        AND revision.action <> 'import'
                        AND revision.action = 'reject'
                        AND task.review = 'rejected'
                    UNION
                    SELECT parent.task_id
                    FROM candidate INDEXED BY candidate_instance_by_reason
                    CROSS JOIN candidate AS parent INDEXED BY candidate_that_became_task ON parent.id = candidate.parent_id
                    WHERE candidate.kind = 'instance'
                        AND candidate.verdict = 'rejected'
                        AND candidate.reason <> 'instruction_rejected'
                        AND candidate.reason = ?
                        AND parent.kind = 'instruction'
                        AND parent.task_id IS NOT NULL",
                ),
                vec![reason.into(); 4],
            );
        }
        if let Some(text) = self.text.as_deref().and_then(fts::query) {
            push(
                Column::Text,
                "EXISTS (SELECT 1 FROM task_fts WHERE task_fts MATCH ? AND task_fts.rowid = task.id)",
                Some("SELECT rowid FROM task_fts WHERE task_fts MATCH ?"),
                vec![text.as_str().into()],
            );
        }
        found
    }
}
