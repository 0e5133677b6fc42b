//! Filters: one description of tasks for lists, search, bulk actions, the page and export.
//!
//! Its conditions are composed for each query (see `query_plan.rs`), from fixed texts with `?` for
//! values: SQLite uses no index for `? IS NULL OR column = ?`, and a list of a million tasks should
//! begin at once.

use super::{
    condition::{self, Condition},
    expression::Expression,
    fts,
    sql::Sql,
    top::Top,
};
use crate::task::{Origin, Review, Split};

/// The longest label, in characters. Longer answers are texts, and not in the index of labels.
pub const LONGEST_LABEL: usize = 64;

/// A choice of tasks. Every field that is set narrows it; ranges include both ends.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Only tasks of this review.
    pub review: Option<Review>,
    /// Only tasks of this origin.
    pub origin: Option<Origin>,
    /// Only tasks that this run added.
    pub run_id: Option<i64>,
    /// Only classification tasks, or only the others.
    pub is_classification: Option<bool>,
    /// Only classification tasks with this output in one of their instances, in any case. At most
    /// [`LONGEST_LABEL`] characters; a longer text matches nothing.
    pub label: Option<String>,
    /// Only tasks with at least so many characters in instruction, inputs and outputs.
    pub min_length: Option<i64>,
    /// Only tasks with at most so many characters.
    pub max_length: Option<i64>,
    /// Only tasks whose ROUGE-L with the nearest task is at least this, 0 to 1.
    pub min_similarity: Option<f64>,
    /// Only tasks whose ROUGE-L with the nearest task is at most this.
    pub max_similarity: Option<f64>,
    /// Only tasks whose score is at least this, 1 to 5: the lowest mean of a task's instances
    /// counts.
    pub min_score: Option<f64>,
    /// Only tasks whose score is at most this.
    pub max_score: Option<f64>,
    /// Only tasks that were rejected for the reason with this code, and tasks that lost an instance
    /// to it when they were generated.
    pub reason: Option<String>,
    /// Only tasks with these words in instruction, input or output: see [`fts`].
    pub text: Option<String>,
    /// Only tasks that may be trained on, or only those that `ewe split` has held out.
    pub split: Option<Split>,
    /// Only tasks for which this holds.
    #[serde(rename = "where")]
    pub expression: Option<Expression>,
    /// Only tasks that nobody and no rule rejected.
    #[serde(skip)]
    pub in_dataset: bool,
    /// Only the best of the tasks that pass everything else.
    #[serde(skip_deserializing)]
    pub top: Option<Top>,
}

impl Filter {
    /// Whether every task passes.
    pub fn is_empty(&self) -> bool {
        self.conditions().is_empty()
    }

    /// Appends ` AND …` for each condition, over rows of `task`.
    pub(in crate::store) fn push_rows(&self, sql: &mut Sql) {
        for condition in self.conditions() {
            sql.push(" AND ").push(&condition.row).values(&condition.values);
        }
    }

    /// Returns its conditions, not yet counted.
    pub(in crate::store) fn conditions(&self) -> Vec<Condition> {
        let mut found = Vec::new();
        let review = self.review.map(|review| review.as_str());
        found.extend(review.map(|review| condition::REVIEW.with([review.into()])));
        let origin = self.origin.map(|origin| origin.as_str());
        found.extend(origin.map(|origin| condition::ORIGIN.with([origin.into()])));
        found.extend(self.run_id.map(|run_id| condition::RUN.with([run_id.into()])));
        self.push_classification(&mut found);
        self.push_ranges(&mut found);
        if let Some(reason) = self.reason.as_deref().map(str::trim) {
            found.push(condition::REASON.with([(); 4].map(|()| reason.into())));
        }
        let query = self.text.as_deref().and_then(fts::query);
        found.extend(query.map(|query| condition::TEXT.with([query.as_str().into()])));
        found.extend(self.split.map(|split| match split {
            Split::Train => condition::IN_TRAIN.with([]),
            Split::Eval => condition::IN_EVAL.with([]),
        }));
        found.extend(self.expression.as_ref().map(Expression::condition));
        found.extend(self.in_dataset.then(|| condition::IN_DATASET.with([])));
        if let Some(top) = &self.top {
            found.push(top.condition(&found));
        }
        found
    }

    /// Adds the conditions on classification and label.
    fn push_classification(&self, found: &mut Vec<Condition>) {
        match self.is_classification {
            Some(true) => found.push(condition::CLASSIFICATION.with([])),
            // Only classification tasks have labels.
            Some(false) if self.label.is_some() => found.push(condition::NOTHING.with([])),
            Some(false) => found.push(condition::NO_CLASSIFICATION.with([])),
            None => {}
        }
        if let Some(label) = &self.label {
            found.push(condition::CLASSIFICATION.with([]));
            found.push(condition::LABEL.with([label.as_str().into()]));
        }
    }

    /// Adds the conditions with a lower and an upper bound.
    fn push_ranges(&self, found: &mut Vec<Condition>) {
        if self.min_length.is_some() || self.max_length.is_some() {
            let (min, max) = (self.min_length.unwrap_or(0), self.max_length.unwrap_or(i64::MAX));
            found.push(condition::LENGTH.with([min.into(), max.into()]));
        }
        if self.min_similarity.is_some() || self.max_similarity.is_some() {
            let (min, max) = (
                self.min_similarity.unwrap_or(0.0),
                self.max_similarity.unwrap_or(1.0),
            );
            found.push(condition::SIMILARITY.with([min.into(), max.into()]));
        }
        if self.min_score.is_some() || self.max_score.is_some() {
            let (min, max) = (self.min_score.unwrap_or(1.0), self.max_score.unwrap_or(5.0));
            found.push(condition::SCORE.with([min.into(), max.into()]));
        }
    }
}
