//! Tasks as lists: what `list`, the page's queue and `ewe review` show, a page at a time.
//!
//! A page begins behind a task, not behind a number of tasks: what was skipped need not be read, and nothing is shown
//! twice or left out because rows before it came or went.

use std::collections::HashMap;

use super::{
    Error, Result, Store,
    filter::Filter,
    rows::json_rows,
    sql::{Sql, Value},
    way::{BY_ID, Order, Way},
};
use crate::task::{Origin, Review};

/// Which task comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    /// In the order they were stored.
    #[default]
    Id,
    /// Latest first.
    Newest,
    /// Longest text of instruction, input and output first.
    Longest,
    /// Shortest first.
    Shortest,
    /// Most like another task first, by ROUGE-L with the nearest; tasks without neighbours last.
    Similar,
    /// Lowest score first, tasks without one last.
    Score,
}

/// Where a page begins: at the start of the list, or at a task that is itself left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Position {
    /// The first task.
    #[default]
    Start,
    /// What follows this task. It need not pass the filter itself.
    After(i64),
    /// What precedes this task, the nearest first.
    Before(i64),
}

/// A line of a list.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ListRow {
    /// The task's id.
    pub id: i64,
    /// What people think of it.
    pub review: Review,
    /// Where it came from.
    pub origin: Origin,
    /// Whether the answer is one of a few labels.
    pub is_classification: bool,
    /// The run that brought it in.
    pub run_id: Option<i64>,
    /// A short name for people.
    pub name: Option<String>,
    /// What is to be done.
    pub instruction: String,
    /// Input of the first instance; none where there is no instance.
    pub input: Option<String>,
    /// Output of the first instance.
    pub output: Option<String>,
    /// How many instances there are.
    pub instances: i64,
    /// Characters of the instruction and of all inputs and outputs.
    pub length: i64,
    /// ROUGE-L with the nearest task when it was admitted, 0 to 1.
    pub nearest_rouge_l: Option<f64>,
    /// What models think of it, 1 to 5: of its instances the one with the lowest mean over the models that judged it.
    pub score: Option<f64>,
}

/// The column that a list is sorted by, then by id in the same direction.
struct Key {
    /// None for the id alone.
    column: Option<&'static str>,
    descending: bool,
    /// Whether it is null for some tasks, which come last.
    nullable: bool,
    order: Order,
}

/// A task's place in a list: its value in the column, and its id.
struct Place {
    value: Option<Value>,
    id: i64,
}

impl Sort {
    fn key(self) -> Key {
        let (column, all, of_review) = match self {
            Sort::Id | Sort::Newest => (None, None, BY_ID.of_review),
            Sort::Longest | Sort::Shortest => (
                Some("length"),
                Some("task_by_length"),
                "task_by_review_and_length",
            ),
            Sort::Similar => (
                Some("nearest_rouge_l"),
                Some("task_by_nearest"),
                "task_by_review_and_nearest",
            ),
            Sort::Score => (Some("score"), Some("task_by_score"), "task_by_review_and_score"),
        };
        Key {
            column,
            descending: matches!(self, Sort::Newest | Sort::Longest | Sort::Similar),
            nullable: matches!(self, Sort::Similar | Sort::Score),
            order: Order { all, of_review },
        }
    }
}

/// A stretch of a list that one search in an index finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Tasks with the value of the task where the page begins.
    Ties,
    /// Tasks with another value: all, or those beyond the task where the page begins.
    Valued,
    /// Tasks that have none; they come last.
    Rest,
}

impl Key {
    /// The stretches of the list from a place on, in the order of reading.
    fn parts(&self, place: Option<&Place>, backwards: bool) -> Vec<Part> {
        let rest = self.nullable.then_some(Part::Rest);
        match place {
            None => [Some(Part::Valued), rest].into_iter().flatten().collect(),
            Some(Place { value: None, .. }) if self.column.is_some() => {
                [rest, backwards.then_some(Part::Valued)]
                    .into_iter()
                    .flatten()
                    .collect()
            }
            Some(_) => {
                let ties = self.column.map(|_| Part::Ties);
                let rest = rest.filter(|_| !backwards);
                [ties, Some(Part::Valued), rest].into_iter().flatten().collect()
            }
        }
    }

    /// The query for ids of one stretch, behind `place` where there is one.
    fn statement(&self, way: &Way, part: Part, place: Option<&Place>, backwards: bool, limit: i64) -> Sql {
        let descending = self.descending != backwards;
        let (sign, direction) = if descending {
            (" < ?", " DESC")
        } else {
            (" > ?", "")
        };
        let column = self.column.filter(|_| part != Part::Rest);
        let mut sql = Sql::default();
        sql.push("SELECT task.id");
        let order = if column.is_some() { self.order } else { BY_ID };
        way.push(&mut sql, order, "");
        if let (Some(name), true) = (self.column, self.nullable) {
            match part {
                Part::Rest => sql.push(" AND +task.").push(name).push(" IS NULL"),
                Part::Ties | Part::Valued => sql.push(" AND task.").push(name).push(" IS NOT NULL"),
            };
        }
        if let (Some(name), Some(value)) = (column, place.and_then(|place| place.value.clone())) {
            let sign = if part == Part::Ties { " = ?" } else { sign };
            sql.push(" AND task.").push(name).push(sign).values(&[value]);
        }
        // Beyond a value, or past the tasks without one, every id is wanted.
        let bounded = match part {
            Part::Ties => true,
            Part::Valued => self.column.is_none(),
            Part::Rest => place.is_some_and(|place| place.value.is_none()),
        };
        if let (Some(place), true) = (place, bounded) {
            sql.push(" AND task.id").push(sign).values(&[place.id.into()]);
        }
        sql.push(" ORDER BY ");
        if let (Some(name), Part::Valued) = (column, part) {
            sql.push("task.").push(name).push(direction).push(", ");
        }
        sql.push("task.id").push(direction);
        sql.push(" LIMIT ?").values(&[limit.into()]);
        sql
    }
}

impl Store {
    /// A page of the tasks that `filter` lets through; those before a task come nearest first.
    ///
    /// # Errors
    ///
    /// [`Error::NoTask`] when the page is to begin at a task that there is not.
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

    /// The ids of such a page: with a limit of one, the next task of a queue.
    ///
    /// # Errors
    ///
    /// [`Error::NoTask`] when the page is to begin at a task that there is not.
    pub async fn ids(&self, filter: &Filter, sort: Sort, from: Position, limit: i64) -> Result<Vec<i64>> {
        let key = sort.key();
        let (place, backwards) = match from {
            Position::Start => (None, false),
            Position::After(id) => (Some(self.place(&key, id).await?), false),
            Position::Before(id) => (Some(self.place(&key, id).await?), true),
        };
        let way = self.way(filter, key.column.is_none()).await?;
        let mut ids = Vec::new();
        for part in key.parts(place.as_ref(), backwards) {
            let left = limit - ids.len() as i64;
            let (text, values) = key
                .statement(&way, part, place.as_ref(), backwards, left)
                .finish();
            ids.extend(
                sqlx::query_scalar_with::<_, i64, _>(text, values)
                    .fetch_all(&self.pool)
                    .await?,
            );
        }
        Ok(ids)
    }

    /// How many tasks `filter` lets through; with `most`, no more than that are counted.
    pub async fn count(&self, filter: &Filter, most: Option<i64>) -> Result<i64> {
        let way = self.way(filter, true).await?;
        let mut sql = Sql::default();
        sql.push("SELECT count(*) FROM (");
        match way.only() {
            Some(ids) => sql.append(ids),
            None => {
                sql.push("SELECT 1");
                way.push(&mut sql, BY_ID, "");
            }
        }
        // A negative limit is none.
        sql.push(" LIMIT ?)").values(&[most.unwrap_or(-1).into()]);
        let (text, values) = sql.finish();
        Ok(sqlx::query_scalar_with::<_, i64, _>(text, values)
            .fetch_one(&self.pool)
            .await?)
    }

    async fn place(&self, key: &Key, id: i64) -> Result<Place> {
        let row = sqlx::query!(
            r#"
            SELECT length, nearest_rouge_l, score
            FROM task
            WHERE id = ?
            "#,
            id
        )
        .fetch_optional(&self.pool)
        .await?
        .ok_or(Error::NoTask { id })?;
        let value = match key.column {
            Some("length") => Some(Value::Integer(row.length)),
            Some("score") => row.score.map(Value::Real),
            Some(_) => row.nearest_rouge_l.map(Value::Real),
            None => None,
        };
        Ok(Place { value, id })
    }

    /// The lines of these tasks, in any order.
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
                task.length, task.nearest_rouge_l, task.score
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
