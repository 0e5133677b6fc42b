//! Which tasks: one filter for lists, search, bulk actions, the page and export.
//!
//! Its conditions are put together when it is asked, from fixed texts with places for values: SQLite uses no index where
//! a query says `? IS NULL OR column = ?`, and a list of a million tasks is to begin at once.

use sqlx::{Arguments, AssertSqlSafe, sqlite::SqliteArguments};

use super::{Result, Store, fts};
use crate::task::{Origin, Review};

/// The longest label, in characters. Longer answers are texts, and not in the index of labels.
pub const LONGEST_LABEL: usize = 64;

/// So many ids, found through an index, are looked at one by one rather than a whole list in order.
const FEW: i64 = 4_000;

/// So far the tasks of a condition are counted before a query is made.
const MANY: i64 = 50_000;

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

/// A value for a place in a statement.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number.
    Real(f64),
}

/// A statement under way: its text, which is made of fixed parts, and the values for the places in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Sql {
    text: String,
    values: Vec<Value>,
}

/// A part of a filter.
#[derive(Debug)]
pub(super) struct Condition {
    column: Column,
    /// True of a row of `task`. Each `?` is a value; a `+` keeps SQLite from the column's index.
    row: &'static str,
    /// The ids of all such tasks, through an index, for the same values. None where there is no index.
    ids: Option<&'static str>,
    values: Vec<Value>,
    /// How many ids there are; none where they were not counted, or are more than [`MANY`].
    count: Option<i64>,
}

/// What a condition is about, as far as that makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Review,
    Origin,
    Run,
    Text,
    Other,
}

/// The order in which rows are wanted, as an index has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    /// The index on the column alone; none for the order of ids.
    pub all: Option<&'static str>,
    /// The index on review and the column.
    pub of_review: &'static str,
}

impl Filter {
    /// Whether it lets every task through.
    pub fn is_empty(&self) -> bool {
        self.conditions().is_empty()
    }

    /// Its parts; none is counted yet.
    fn conditions(&self) -> Vec<Condition> {
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
                Column::Other,
                "+task.is_classification = 1",
                Some("SELECT id FROM task WHERE is_classification = 1"),
                Vec::new(),
            ),
            Some(false) => push(Column::Other, "+task.is_classification = 0", None, Vec::new()),
            None => {}
        }
        if let Some(label) = &self.label {
            push(
                Column::Other,
                "+task.is_classification = 1 AND EXISTS (
                    SELECT 1
                    FROM instance
                    WHERE instance.task_id = task.id
                        AND instance.output = ? COLLATE NOCASE
                        AND length(instance.output) <= 64
                )",
                Some(
                    "SELECT DISTINCT instance.task_id
                    FROM instance INDEXED BY instance_by_label
                    WHERE instance.output = ? COLLATE NOCASE
                        AND length(instance.output) <= 64
                        AND (SELECT is_classification FROM task WHERE task.id = instance.task_id) = 1",
                ),
                vec![label.as_str().into()],
            );
        }
        if self.min_length.is_some() || self.max_length.is_some() {
            push(
                Column::Other,
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
                Column::Other,
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
                Column::Other,
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
                Column::Other,
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
                        FROM candidate AS parent
                        JOIN candidate ON candidate.round = parent.round AND candidate.parent_id = parent.id
                        WHERE parent.task_id = task.id AND candidate.reason = ?
                    )
                )",
                Some(
                    "SELECT task.id
                    FROM revision INDEXED BY revision_by_note
                    CROSS JOIN task ON task.id = revision.task_id
                    WHERE revision.note >= ?
                        AND revision.note < ? || char(1114111)
                        AND substr(revision.note, length(?) + 1, 1) NOT GLOB '[a-z0-9_]'
                        AND revision.action = 'reject'
                        AND task.review = 'rejected'
                    UNION
                    SELECT parent.task_id
                    FROM candidate
                    JOIN candidate AS parent ON parent.id = candidate.parent_id
                    WHERE candidate.verdict = 'rejected' AND candidate.reason = ? AND parent.task_id IS NOT NULL",
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

/// How the rows of a filter are found.
#[derive(Debug)]
pub(super) struct Way {
    conditions: Vec<Condition>,
    /// The condition whose ids are looked at one by one.
    driver: Option<usize>,
    /// The condition whose column has an index in the wanted order.
    along: Option<usize>,
}

impl Store {
    /// Decides how to find the rows of a filter: those of a rare condition one by one, or all in order until there are
    /// enough. SQLite does not count before it decides, and one wrong choice is a second.
    pub(super) async fn way(&self, filter: &Filter, by_id: bool) -> Result<Way> {
        let mut conditions = filter.conditions();
        // A review alone is read along its index, whatever the order.
        if conditions
            .iter()
            .any(|condition| condition.column != Column::Review)
        {
            self.count_each(&mut conditions).await?;
        }
        let few = |&(_, condition): &(usize, &Condition)| condition.count.is_some_and(|count| count <= FEW);
        let driver = conditions
            .iter()
            .enumerate()
            .filter(few)
            .min_by_key(|(_, condition)| condition.count)
            .map(|(place, _)| place);
        // The index of any of these columns has its rows in the order of ids; only that of review has other orders.
        let along = conditions
            .iter()
            .enumerate()
            .filter(|(_, condition)| match condition.column {
                Column::Review => true,
                Column::Origin | Column::Run => by_id,
                Column::Text | Column::Other => false,
            })
            // Of those that are many, a run is likely to be the rarest.
            .min_by_key(|(_, condition)| {
                (
                    condition.count.unwrap_or(i64::MAX),
                    condition.column != Column::Run,
                )
            })
            .map(|(place, _)| place);
        Ok(Way {
            conditions,
            driver,
            along: along.filter(|_| driver.is_none()),
        })
    }

    async fn count_each(&self, conditions: &mut [Condition]) -> Result<()> {
        let mut sql = Sql::default();
        let mut counted = Vec::new();
        for condition in conditions.iter_mut() {
            if let Some(ids) = condition.ids {
                sql.push(if counted.is_empty() {
                    "SELECT "
                } else {
                    " UNION ALL SELECT "
                })
                .push("count(*) FROM (SELECT 1 FROM (")
                .push(ids)
                .values(&condition.values)
                .push(") LIMIT ?)")
                .values(&[Value::Integer(MANY + 1)]);
                counted.push(condition);
            }
        }
        if counted.is_empty() {
            return Ok(());
        }
        let (text, values) = sql.finish();
        let counts = sqlx::query_scalar_with::<_, i64, _>(text, values)
            .fetch_all(&self.pool)
            .await?;
        for (condition, count) in counted.into_iter().zip(counts) {
            condition.count = Some(count).filter(|&count| count <= MANY);
        }
        Ok(())
    }
}

impl Way {
    /// The one condition, as a query for ids, where there is no other and an index has them.
    pub(super) fn only(&self) -> Option<Sql> {
        match &self.conditions[..] {
            [condition] => Some(Sql {
                text: condition.ids?.to_owned(),
                values: condition.values.clone(),
            }),
            _ => None,
        }
    }

    /// Adds `FROM task`, what is joined to it, and every condition, `WHERE 1 …`; more may follow with `AND`.
    pub(super) fn push(&self, sql: &mut Sql, order: Order, join: &str) {
        sql.push(" FROM task");
        if self.driver.is_none() {
            let index = match self.along.map(|place| self.conditions[place].column) {
                Some(Column::Review) => Some(order.of_review),
                Some(Column::Origin) => Some("task_by_origin"),
                Some(Column::Run) => Some("task_by_run"),
                _ => order.all,
            };
            match index {
                Some(index) => sql.push(" INDEXED BY ").push(index),
                None => sql.push(" NOT INDEXED"),
            };
        }
        sql.push(join).push(" WHERE 1");
        for (place, condition) in self.conditions.iter().enumerate() {
            sql.push(" AND ");
            match condition.ids {
                Some(ids) if self.driver == Some(place) => sql.push("task.id IN (").push(ids).push(")"),
                // To look each row up in the index of words takes longer than to collect all that have them, unless
                // these are very many.
                Some(ids) if condition.column == Column::Text && condition.count.is_some() => {
                    sql.push("+task.id IN (").push(ids).push(")")
                }
                _ if self.along == Some(place) => sql.push(condition.row.trim_start_matches('+')),
                _ => sql.push(condition.row),
            }
            .values(&condition.values);
        }
    }
}

impl Sql {
    /// Adds text.
    pub(super) fn push(&mut self, text: &str) -> &mut Sql {
        self.text.push_str(text);
        self
    }

    /// Adds another statement, with its values.
    pub(super) fn append(&mut self, other: Sql) {
        self.text.push_str(&other.text);
        self.values.extend(other.values);
    }

    /// Adds values for the next places.
    pub(super) fn values(&mut self, values: &[Value]) -> &mut Sql {
        self.values.extend_from_slice(values);
        self
    }

    /// The statement. Only fixed texts were put together, so that there is nothing in it to be afraid of.
    pub(super) fn finish(self) -> (AssertSqlSafe<String>, SqliteArguments) {
        let mut arguments = SqliteArguments::default();
        for value in self.values {
            match value {
                Value::Text(text) => arguments.add(text),
                Value::Integer(number) => arguments.add(number),
                Value::Real(number) => arguments.add(number),
            }
            .expect("texts and numbers can be encoded");
        }
        (AssertSqlSafe(self.text), arguments)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Integer(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value::Real(number)
    }
}
