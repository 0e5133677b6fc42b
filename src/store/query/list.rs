//! Lists of tasks, a page at a time: `ewe list`, the page's queue and `ewe review`.
//!
//! A page begins after a task, not after a number of tasks (keyset pagination): skipped rows are
//! not read, and no task is shown twice or left out because rows before it came or went.

use std::borrow::Cow;
use std::{collections::HashMap, pin::pin};

use sqlx::{Row, TypeInfo, ValueRef};
use tokio::time::timeout;

use super::condition::FilterField;
use super::filter::Filter;
use super::query_plan::{BY_ID, Goal, PATIENCE, QueryPlan, SortIndexes};
use super::sql::{Sql, SqlValue};
use crate::store::rows::json_rows;
use crate::store::{Error, Result, Store, fields};
use crate::task::{FieldType, Origin, Review};

/// The order of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    /// As they were stored.
    #[default]
    Id,
    /// Latest first.
    Newest,
    /// Longest text of instruction, input and output first.
    Longest,
    /// Shortest first.
    Shortest,
    /// Most like another task first, by ROUGE-L with the nearest; tasks without neighbors last.
    Similar,
    /// Lowest score first, tasks without one last.
    Score,
    /// What raised the held-out loss most first, tasks without influence last.
    Influence,
    /// What lowered the held-out loss most first, tasks without influence last.
    Helped,
    /// Highest IFD first, tasks without one last.
    Ifd,
    /// By the value of a field, tasks without one last.
    #[serde(skip)]
    Field(FieldSort),
}

/// An order by the values of a field: see [`Store::sort_by_field`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldSort {
    /// The field.
    id: i64,
    /// Whether its values have an order of their own, that of its choices.
    is_choice: bool,
    /// Whether the highest comes first.
    descending: bool,
}

/// Where a page begins: at the start of the list, or next to a task, which is itself left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Position {
    /// At the first task.
    #[default]
    Start,
    /// After this task, which need not pass the filter itself.
    After(i64),
    /// Before this task, the nearest first.
    Before(i64),
}

/// A row of a list.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ListRow {
    /// The task's id.
    pub id: i64,
    /// What people think of it.
    pub review: Review,
    /// Where it came from.
    pub origin: Origin,
    /// Whether the output is one of a few labels.
    pub is_classification: bool,
    /// The run that added it.
    pub run_id: Option<i64>,
    /// A short name for people.
    pub name: Option<String>,
    /// What to do.
    pub instruction: String,
    /// Input of the first instance; `None` if there is no instance.
    pub input: Option<String>,
    /// Output of the first instance.
    pub output: Option<String>,
    /// How many instances there are.
    pub instances: i64,
    /// Characters of the instruction and of all inputs and outputs.
    pub length: i64,
    /// ROUGE-L with the nearest task at its admission, 0 to 1.
    pub nearest_rouge_l: Option<f64>,
    /// Its score by judges, 1 to 5: of its instances the lowest mean over the judges.
    pub score: Option<f64>,
    /// How much its instances lowered the held-out loss; the mean over the instances.
    pub influence: Option<f64>,
    /// Its instruction-following difficulty (Li et al. 2023); the mean over the instances.
    pub ifd: Option<f64>,
    /// Whether it is held out for evaluation.
    pub is_held_out: bool,
}

/// The column that a list is sorted by; ties are sorted by id in the same direction.
struct SortKey {
    /// Its value in a row of `task`, and the filter's field for it; `None` for ids.
    column: Option<(Cow<'static, str>, FilterField)>,
    descending: bool,
    /// Whether it is null for some tasks, which come last.
    nullable: bool,
    indexes: SortIndexes,
}

/// A task's cursor in a list: its value in the sort column, and its id.
struct Cursor {
    value: Option<SqlValue>,
    id: i64,
}

impl Sort {
    fn key(self) -> SortKey {
        let (column, all, of_review) = match self {
            Sort::Id | Sort::Newest => (None, None, BY_ID.of_review),
            Sort::Longest | Sort::Shortest => (
                Some(("task.length", FilterField::Length)),
                Some("task_by_length"),
                "task_by_review_and_length",
            ),
            Sort::Similar => (
                Some(("task.nearest_rouge_l", FilterField::Similarity)),
                Some("task_by_nearest"),
                "task_by_review_and_nearest",
            ),
            Sort::Score => (
                Some(("task.score", FilterField::Score)),
                Some("task_by_score"),
                "task_by_review_and_score",
            ),
            Sort::Influence | Sort::Helped => (
                Some(("task.influence", FilterField::Influence)),
                Some("task_by_influence"),
                "task_by_review_and_influence",
            ),
            Sort::Ifd => (
                Some(("task.ifd", FilterField::Ifd)),
                Some("task_by_ifd"),
                "task_by_review_and_ifd",
            ),
            Sort::Field(field) => return field.key(),
        };
        SortKey {
            column: column.map(|(name, field)| (Cow::Borrowed(name), field)),
            descending: matches!(
                self,
                Sort::Newest | Sort::Longest | Sort::Similar | Sort::Helped | Sort::Ifd
            ),
            nullable: matches!(
                self,
                Sort::Similar | Sort::Score | Sort::Influence | Sort::Helped | Sort::Ifd
            ),
            indexes: SortIndexes { all, of_review },
        }
    }
}

impl FieldSort {
    fn key(self) -> SortKey {
        let id = self.id;
        // Of several tags, the first one counts.
        let value = match self.is_choice {
            false => format!(
                "(SELECT min(value) FROM field_value WHERE field_value.task_id = task.id AND field_id = {id})"
            ),
            true => format!(
                "(
                    SELECT min(choice.key)
                    FROM field_value
                    CROSS JOIN field ON field.id = field_value.field_id
                    CROSS JOIN json_each(field.choices) AS choice ON choice.value = field_value.value
                    WHERE field_value.task_id = task.id AND field_value.field_id = {id}
                )"
            ),
        };
        SortKey {
            column: Some((Cow::Owned(value), FilterField::Field)),
            descending: self.descending,
            nullable: true,
            indexes: BY_ID,
        }
    }
}

/// A segment of a list that one index search finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Segment {
    /// Tasks with the same value as the task where the page begins.
    Ties,
    /// Tasks with other values: all, or those beyond the task where the page begins.
    Others,
    /// Tasks without a value; they come last.
    Nulls,
}

impl SortKey {
    fn goal(&self) -> Goal {
        match self.column {
            None => Goal::FirstById,
            // No index has its rows in this order, whatever else the filter says of fields.
            Some((_, FilterField::Field)) => Goal::All,
            Some((_, column)) => Goal::FirstSorted(column),
        }
    }

    /// Returns the segments of the list from the cursor on, in the order of reading.
    fn segments(&self, cursor: Option<&Cursor>, backwards: bool) -> Vec<Segment> {
        let nulls = self.nullable.then_some(Segment::Nulls);
        match cursor {
            None => [Some(Segment::Others), nulls].into_iter().flatten().collect(),
            Some(Cursor { value: None, .. }) if self.column.is_some() => {
                [nulls, backwards.then_some(Segment::Others)]
                    .into_iter()
                    .flatten()
                    .collect()
            }
            Some(_) => {
                let ties = self.column.as_ref().map(|_| Segment::Ties);
                let nulls = nulls.filter(|_| !backwards);
                [ties, Some(Segment::Others), nulls]
                    .into_iter()
                    .flatten()
                    .collect()
            }
        }
    }

    /// Builds the query for the ids of one segment, from the cursor on.
    fn statement(
        &self,
        plan: &QueryPlan,
        segment: Segment,
        cursor: Option<&Cursor>,
        backwards: bool,
        limit: i64,
    ) -> Sql {
        let descending = self.descending != backwards;
        let (sign, direction) = if descending {
            (" < ?", " DESC")
        } else {
            (" > ?", "")
        };
        let column = self.column.as_ref().filter(|_| segment != Segment::Nulls);
        let mut sql = Sql::default();
        sql.push("SELECT task.id");
        let indexes = if column.is_some() { self.indexes } else { BY_ID };
        plan.push(&mut sql, indexes, "");
        if let (Some((name, _)), true) = (&self.column, self.nullable) {
            match segment {
                Segment::Nulls => sql.push(" AND +").push(name).push(" IS NULL"),
                Segment::Ties | Segment::Others => sql.push(" AND ").push(name).push(" IS NOT NULL"),
            };
        }
        if let (Some((name, _)), Some(value)) = (column, cursor.and_then(|cursor| cursor.value.clone())) {
            let sign = if segment == Segment::Ties { " = ?" } else { sign };
            sql.push(" AND ").push(name).push(sign).values(&[value]);
        }
        // In other segments every id is wanted.
        let bounded = match segment {
            Segment::Ties => true,
            Segment::Others => self.column.is_none(),
            Segment::Nulls => cursor.is_some_and(|cursor| cursor.value.is_none()),
        };
        if let (Some(cursor), true) = (cursor, bounded) {
            sql.push(" AND ")
                .push(plan.id())
                .push(sign)
                .values(&[cursor.id.into()]);
        }
        sql.push(" ORDER BY ");
        if let (Some((name, _)), Segment::Others) = (column, segment) {
            sql.push(name).push(direction).push(", ");
        }
        sql.push(plan.id()).push(direction);
        sql.push(" LIMIT ?").values(&[limit.into()]);
        sql
    }
}

impl Store {
    /// Returns a page of the tasks that pass `filter`. Those before a task come nearest first.
    ///
    /// # Errors
    ///
    /// [`Error::NoTask`] if the task where the page begins does not exist.
    pub async fn list(
        &self,
        filter: &Filter,
        sort: Sort,
        from: Position,
        limit: i64,
    ) -> Result<Vec<ListRow>> {
        let ids = self.ids(filter, sort, from, limit).await?;
        let mut rows: HashMap<i64, ListRow> = self
            .lines(&ids)
            .await?
            .into_iter()
            .map(|row| (row.id, row))
            .collect();
        Ok(ids.iter().filter_map(|id| rows.remove(id)).collect())
    }

    /// Returns the ids of such a page. With a limit of one, that is the next task of a queue.
    ///
    /// # Errors
    ///
    /// [`Error::NoTask`] if the task where the page begins does not exist.
    pub async fn ids(&self, filter: &Filter, sort: Sort, from: Position, limit: i64) -> Result<Vec<i64>> {
        let key = sort.key();
        let (cursor, backwards) = match from {
            Position::Start => (None, false),
            Position::After(id) => (Some(self.cursor(&key, id).await?), false),
            Position::Before(id) => (Some(self.cursor(&key, id).await?), true),
        };
        let mut plan = self.query_plan(filter, key.goal()).await?;
        let mut ids = Vec::new();
        for segment in key.segments(cursor.as_ref(), backwards) {
            let left = limit - ids.len() as i64;
            if left == 0 || segment == Segment::Nulls && plan.has_range() {
                continue;
            }
            let statement = |plan: &QueryPlan| key.statement(plan, segment, cursor.as_ref(), backwards, left);
            let found;
            if segment == Segment::Nulls {
                // Tasks without a value are in order of ids.
                (found, _) = self
                    .run_plan(self.query_plan(filter, Goal::FirstById).await?, statement)
                    .await?;
            } else {
                (found, plan) = self.run_plan(plan, statement).await?;
            }
            ids.extend(found);
        }
        Ok(ids)
    }

    /// Runs a statement by its plan, or by an alternative that turns out faster. Returns the ids
    /// and the plan that found them.
    async fn run_plan(
        &self,
        plan: QueryPlan,
        statement: impl Fn(&QueryPlan) -> Sql,
    ) -> Result<(Vec<i64>, QueryPlan)> {
        let mut first = pin!(self.numbers(statement(&plan)));
        if !plan.is_guess() {
            return Ok((first.await?, plan));
        }
        if let Ok(found) = timeout(PATIENCE, &mut first).await {
            return Ok((found?, plan));
        }
        let mut second = pin!(async {
            match self.alternative(&plan).await? {
                Some(other) => Ok((self.numbers(statement(&other)).await?, other)),
                None => std::future::pending().await,
            }
        });
        // The slower one is dropped, which interrupts it.
        tokio::select! {
            found = &mut first => Ok((found?, plan.clone())),
            found = &mut second => found,
        }
    }

    /// Counts the tasks that pass `filter`; with `most`, up to that many.
    pub async fn count(&self, filter: &Filter, most: Option<i64>) -> Result<i64> {
        let plan = self.query_plan(filter, Goal::All).await?;
        let mut sql = Sql::default();
        sql.push("SELECT count(*) FROM (");
        match plan.only() {
            Some(ids) => sql.append(ids),
            None => {
                sql.push("SELECT 1");
                plan.push(&mut sql, BY_ID, "");
            }
        }
        // A negative limit is no limit.
        sql.push(" LIMIT ?)").values(&[most.unwrap_or(-1).into()]);
        Ok(self.numbers(sql).await?.iter().sum())
    }

    async fn cursor(&self, key: &SortKey, id: i64) -> Result<Cursor> {
        let row = sqlx::query!(
            r#"
            SELECT length, nearest_rouge_l, score, influence, ifd
            FROM task
            WHERE id = ?
            "#,
            id
        )
        .fetch_optional(&self.pool)
        .await?
        .ok_or(Error::NoTask { id })?;
        let value = match &key.column {
            Some((value, FilterField::Field)) => self.field_cursor(value, id).await?,
            Some((_, FilterField::Length)) => Some(SqlValue::Integer(row.length)),
            Some((_, FilterField::Score)) => row.score.map(SqlValue::Real),
            Some((_, FilterField::Influence)) => row.influence.map(SqlValue::Real),
            Some((_, FilterField::Ifd)) => row.ifd.map(SqlValue::Real),
            Some(_) => row.nearest_rouge_l.map(SqlValue::Real),
            None => None,
        };
        Ok(Cursor { value, id })
    }

    /// Returns the value of a task in an order by a field.
    async fn field_cursor(&self, value: &str, id: i64) -> Result<Option<SqlValue>> {
        let mut sql = Sql::default();
        sql.push("SELECT ")
            .push(value)
            .push(" AS value FROM task WHERE id = ?")
            .values(&[id.into()]);
        let (text, values) = sql.finish();
        let row = sqlx::query_with(text, values).fetch_one(&self.pool).await?;
        let value = row.try_get_raw("value")?;
        let kind = value.type_info().name().to_owned();
        Ok(match kind.as_str() {
            _ if value.is_null() => None,
            "INTEGER" => Some(SqlValue::Integer(row.try_get_unchecked("value")?)),
            "REAL" => Some(SqlValue::Real(row.try_get_unchecked("value")?)),
            _ => Some(SqlValue::Text(row.try_get_unchecked("value")?)),
        })
    }

    /// Returns the order by the field of this name; its lowest value comes first unless it is
    /// `descending`, and of a choice the first one.
    ///
    /// # Errors
    ///
    /// [`FieldError::None`](crate::store::FieldError::None).
    pub async fn sort_by_field(&self, name: &str, descending: bool) -> Result<Sort> {
        let known = self.fields().await?;
        let field = fields::named(&known, name)?;
        Ok(Sort::Field(FieldSort {
            id: field.id,
            is_choice: field.kind == FieldType::Choice,
            descending,
        }))
    }

    /// Returns the rows of these tasks, in any order.
    async fn lines(&self, ids: &[i64]) -> Result<Vec<ListRow>> {
        let ids = json_rows(ids);
        Ok(sqlx::query_as!(
            ListRow,
            r#"
            SELECT
                task.id AS "id!", task.review AS "review: Review", task.origin AS "origin: Origin",
                task.is_classification AS "is_classification: bool", task.run_id, task.name, task.instruction,
                first.input AS "input?", first.output AS "output?",
                (SELECT count(*) FROM instance WHERE instance.task_id = task.id) AS "instances!: i64",
                task.length, task.nearest_rouge_l, task.score, task.influence, task.ifd,
                EXISTS (SELECT 1 FROM held_out WHERE held_out.task_id = task.id) AS "is_held_out!: bool"
            FROM json_each(?) AS wanted
            CROSS JOIN task ON task.id = wanted.value
            LEFT JOIN instance AS first ON first.task_id = task.id AND first.ordinal = 0
            "#,
            ids
        )
        .fetch_all(&self.pool)
        .await?)
    }
}

#[cfg(test)]
mod tests;
