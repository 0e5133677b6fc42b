//! Filters: one description of tasks for lists, search, bulk actions, the page and export.
//!
//! Its conditions are composed for each query (see `query_plan.rs`), from fixed texts with `?` for
//! values: SQLite uses no index for `? IS NULL OR column = ?`, and a list of a million tasks should
//! begin at once.

use super::{
    condition::{self, Condition},
    expression::{Expression, field},
    fts,
    sql::{Sql, SqlValue},
    top::Top,
};
use crate::task::{Origin, Review, Split, Stance};

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
    /// Only tasks with these values of fields.
    #[serde(rename = "field", skip_serializing_if = "FieldTests::is_empty")]
    pub fields: FieldTests,
    /// Only tasks that are assigned to this reviewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assigned_to: Option<String>,
    /// Only tasks that are assigned to this reviewer, who has no opinion that holds yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub awaiting: Option<String>,
    /// Only tasks of which a reviewer has this opinion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opinion: Option<Stance>,
    /// Only pending tasks whose reviewers have all spoken and do not agree.
    #[serde(skip_serializing_if = "is_false")]
    pub disagreement: bool,
    /// Only tasks with comments.
    #[serde(skip_serializing_if = "is_false")]
    pub commented: bool,
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

/// A value that a field has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldTest {
    /// The field's name.
    pub name: String,
    /// The value; `None` for tasks without one.
    pub value: Option<String>,
}

/// Values that fields have, as a page sends them: one on each line.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FieldTests(pub Vec<FieldTest>);

/// Whether a choice that narrows nothing is to be left out where a filter is written.
fn is_false(flag: &bool) -> bool {
    !flag
}

impl std::str::FromStr for FieldTest {
    type Err = String;

    fn from_str(text: &str) -> Result<FieldTest, String> {
        let (name, value) = text
            .split_once('=')
            .ok_or("want a field, `=` and a value, such as difficulty=hard")?;
        Ok(FieldTest {
            name: name.trim().to_owned(),
            value: Some(value).filter(|value| !value.is_empty()).map(str::to_owned),
        })
    }
}

impl FieldTests {
    /// Whether every task passes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<String> for FieldTests {
    type Error = String;

    fn try_from(text: String) -> Result<FieldTests, String> {
        let lines = text.lines().filter(|line| !line.is_empty());
        Ok(FieldTests(lines.map(str::parse).collect::<Result<_, _>>()?))
    }
}

impl From<FieldTests> for String {
    fn from(tests: FieldTests) -> String {
        let line = |test: FieldTest| format!("{}={}", test.name, test.value.unwrap_or_default());
        tests.0.into_iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

impl FieldTest {
    /// Which type the field has is known to the dataset only. So the value is looked for as a text,
    /// as a number and as a flag: a field has values of one of these.
    fn condition(&self) -> Condition {
        let name = SqlValue::Text(self.name.clone());
        let Some(value) = &self.value else {
            return field::IS_NONE.with([name]);
        };
        let text = SqlValue::Text(value.clone());
        let number = match (value.parse::<i64>(), value.parse::<f64>()) {
            (Ok(number), _) => SqlValue::Integer(number),
            (_, Ok(number)) if number.is_finite() => SqlValue::Real(number),
            _ => text.clone(),
        };
        let flag = match value.to_ascii_lowercase().as_str() {
            "yes" | "true" => SqlValue::Integer(1),
            "no" | "false" => SqlValue::Integer(0),
            _ => text.clone(),
        };
        field::IS.with([name, text, number, flag])
    }
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
        found.extend(self.fields.0.iter().map(FieldTest::condition));
        self.push_team(&mut found);
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

    /// Adds the conditions on reviewers, opinions and comments.
    fn push_team(&self, found: &mut Vec<Condition>) {
        let assigned = self.assigned_to.as_deref().map(str::trim);
        found.extend(assigned.map(|name| condition::ASSIGNED.with([name.into()])));
        let awaiting = self.awaiting.as_deref().map(str::trim);
        found.extend(awaiting.map(|name| condition::AWAITING.with([name.into()])));
        let opinion = self.opinion.map(Stance::as_str);
        found.extend(opinion.map(|verdict| condition::OPINION.with([verdict.into()])));
        found.extend(self.disagreement.then(|| condition::DISAGREEMENT.with([])));
        found.extend(self.commented.then(|| condition::COMMENTED.with([])));
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
