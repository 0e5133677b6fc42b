//! Conditions of a filter as SQL: for a row at hand, and as a query for ids through an index.

use std::borrow::Cow;

use super::sql::SqlValue;

/// One condition of a filter.
#[derive(Debug, Clone)]
pub(in crate::store) struct Condition {
    /// Its field.
    pub field: FilterField,
    /// An expression over a row of `task`. Each `?` is a value; a `+` keeps SQLite from using the
    /// column's index.
    pub row: Cow<'static, str>,
    /// A query for the ids of all matches through an index, with the same values; `None` if there
    /// is no index.
    pub ids: Option<Cow<'static, str>>,
    /// The values of each `?`.
    pub values: Vec<SqlValue>,
    /// The number of ids; `None` if they were not counted, or are too many to count.
    pub count: Option<i64>,
}

/// The field of a condition, as far as query plans distinguish them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum FilterField {
    /// `task.review`
    Review,
    /// `task.origin`
    Origin,
    /// `task.run_id`
    Run,
    /// The full-text index.
    Text,
    /// `instance.output`
    Label,
    /// `revision.note` and `candidate.reason`
    Reason,
    /// `task.length`
    Length,
    /// `task.nearest_rouge_l`
    Similarity,
    /// `task.score`
    Score,
    /// `task.is_classification`
    Classification,
    /// `held_out`
    Split,
    /// `task.review`, of any task that is not rejected.
    InDataset,
    /// An expression over columns.
    Expression,
    /// `field_value`
    Field,
    /// `assignment`, `opinion` and `comment`
    Team,
    /// The best by a column.
    Top,
    /// `task.influence`; only for orders.
    Influence,
    /// `task.ifd`; only for orders.
    Ifd,
    /// No task matches.
    Nothing,
}

impl Condition {
    /// Returns a query that is quick to count: a row for each match, or more than one. It has the
    /// same values.
    pub(in crate::store) fn counted(&self) -> Option<&str> {
        match self.field {
            FilterField::Reason => Some(REASON_COUNT),
            _ => self.ids.as_deref(),
        }
    }
}

/// The SQL of a kind of condition.
pub(super) struct ConditionSql {
    pub(super) field: FilterField,
    pub(super) row: &'static str,
    pub(super) ids: Option<&'static str>,
}

impl ConditionSql {
    /// Returns the condition with these values.
    pub fn with<const N: usize>(&self, values: [SqlValue; N]) -> Condition {
        Condition {
            field: self.field,
            row: Cow::Borrowed(self.row),
            ids: self.ids.map(Cow::Borrowed),
            values: values.into(),
            count: None,
        }
    }
}

pub(super) const REVIEW: ConditionSql = ConditionSql {
    field: FilterField::Review,
    row: "+task.review = ?",
    ids: Some("SELECT id FROM task WHERE review = ?"),
};

pub(super) const ORIGIN: ConditionSql = ConditionSql {
    field: FilterField::Origin,
    row: "+task.origin = ?",
    ids: Some("SELECT id FROM task WHERE origin = ?"),
};

pub(super) const RUN: ConditionSql = ConditionSql {
    field: FilterField::Run,
    row: "+task.run_id = ?",
    ids: Some("SELECT id FROM task WHERE run_id = ?"),
};

pub(super) const CLASSIFICATION: ConditionSql = ConditionSql {
    field: FilterField::Classification,
    row: "+task.is_classification = 1",
    ids: Some("SELECT id FROM task WHERE is_classification = 1"),
};

pub(super) const NO_CLASSIFICATION: ConditionSql = ConditionSql {
    field: FilterField::Classification,
    row: "+task.is_classification = 0",
    ids: None,
};

pub(super) const IN_TRAIN: ConditionSql = ConditionSql {
    field: FilterField::Split,
    row: "NOT EXISTS (SELECT 1 FROM held_out WHERE held_out.task_id = task.id)",
    ids: None,
};

pub(super) const IN_EVAL: ConditionSql = ConditionSql {
    field: FilterField::Split,
    row: "EXISTS (SELECT 1 FROM held_out WHERE held_out.task_id = task.id)",
    ids: Some("SELECT task_id FROM held_out"),
};

pub(super) const IN_DATASET: ConditionSql = ConditionSql {
    field: FilterField::InDataset,
    row: "+task.review <> 'rejected'",
    ids: None,
};

pub(super) const NOTHING: ConditionSql = ConditionSql {
    field: FilterField::Nothing,
    row: "+task.is_classification IS NULL",
    ids: Some("SELECT id FROM task WHERE 0"),
};

pub(super) const LABEL: ConditionSql = ConditionSql {
    field: FilterField::Label,
    row: "EXISTS (
            SELECT 1
            FROM instance
            WHERE instance.task_id = task.id
                AND instance.output = ? COLLATE NOCASE
                AND length(instance.output) <= 64
        )",
    ids: Some(
        "SELECT task_id
        FROM instance INDEXED BY instance_by_label
        WHERE output = ? COLLATE NOCASE AND length(output) <= 64",
    ),
};

pub(super) const LENGTH: ConditionSql = ConditionSql {
    field: FilterField::Length,
    row: "+task.length BETWEEN ? AND ?",
    ids: Some("SELECT id FROM task WHERE length BETWEEN ? AND ?"),
};

pub(super) const SIMILARITY: ConditionSql = ConditionSql {
    field: FilterField::Similarity,
    row: "+task.nearest_rouge_l BETWEEN ? AND ?",
    ids: Some("SELECT id FROM task WHERE nearest_rouge_l BETWEEN ? AND ?"),
};

pub(super) const SCORE: ConditionSql = ConditionSql {
    field: FilterField::Score,
    row: "+task.score BETWEEN ? AND ?",
    ids: Some("SELECT id FROM task WHERE score BETWEEN ? AND ?"),
};

/// A reason begins with its code and may go on, as in `near_duplicate of task 12`.
pub(super) const REASON: ConditionSql = ConditionSql {
    field: FilterField::Reason,
    row: "(
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
    ids: Some(
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
};

/// A row for each match of [`REASON`] or more, with the same values.
const REASON_COUNT: &str = "SELECT 1
        FROM revision INDEXED BY revision_by_note
        WHERE note >= ? AND note < ? || char(1114111) AND action <> 'import'
        UNION ALL
        SELECT 1
        FROM candidate INDEXED BY candidate_instance_by_reason
        WHERE kind = 'instance'
            AND verdict = 'rejected'
            AND reason <> 'instruction_rejected'
            AND reason BETWEEN ? AND ?";

pub(super) const TEXT: ConditionSql = ConditionSql {
    field: FilterField::Text,
    row: "EXISTS (SELECT 1 FROM task_fts WHERE task_fts MATCH ? AND task_fts.rowid = task.id)",
    ids: Some("SELECT rowid FROM task_fts WHERE task_fts MATCH ?"),
};

pub(super) const ASSIGNED: ConditionSql = ConditionSql {
    field: FilterField::Team,
    row: "EXISTS (
            SELECT 1
            FROM assignment
            WHERE assignment.reviewer = ? AND assignment.task_id = task.id AND assignment.withdrawn_at IS NULL
        )",
    ids: Some("SELECT task_id FROM assignment WHERE reviewer = ? AND withdrawn_at IS NULL"),
};

pub(super) const AWAITING: ConditionSql = ConditionSql {
    field: FilterField::Team,
    row: "EXISTS (
            SELECT 1
            FROM assigned
            WHERE assigned.reviewer = ? AND assigned.task_id = task.id AND assigned.verdict IS NULL
        )",
    ids: Some("SELECT task_id FROM assigned WHERE reviewer = ? AND verdict IS NULL"),
};

pub(super) const OPINION: ConditionSql = ConditionSql {
    field: FilterField::Team,
    row: "EXISTS (SELECT 1 FROM opinion_now WHERE opinion_now.task_id = task.id AND opinion_now.verdict = ?)",
    ids: Some("SELECT DISTINCT task_id FROM opinion_now WHERE verdict = ?"),
};

pub(super) const DISAGREEMENT: ConditionSql = ConditionSql {
    field: FilterField::Team,
    row: "+task.id IN (SELECT task_id FROM disagreement)",
    ids: Some("SELECT task_id FROM disagreement"),
};

pub(super) const COMMENTED: ConditionSql = ConditionSql {
    field: FilterField::Team,
    row: "EXISTS (SELECT 1 FROM comment WHERE comment.task_id = task.id AND comment.withdrawn_at IS NULL)",
    ids: Some("SELECT DISTINCT task_id FROM comment WHERE withdrawn_at IS NULL"),
};
