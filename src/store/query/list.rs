//! Tasks as lists: what `list`, the page's queue and `ewe review` show, a page at a time.
//!
//! A page begins behind a task, not behind a number of tasks: what was skipped need not be read, and nothing is shown
//! twice or left out because rows before it came or went.

use std::{collections::HashMap, pin::pin};

use tokio::time::timeout;

use super::filter::{Column, Filter};
use super::query_plan::{BY_ID, Order, PATIENCE, QueryPlan, Wanted};
use super::sql::{Sql, Value};
use crate::store::rows::json_rows;
use crate::store::{Error, Result, Store};
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
    /// Its name, and as a filter may have it; none for the id alone.
    column: Option<(&'static str, Column)>,
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
                Some(("length", Column::Length)),
                Some("task_by_length"),
                "task_by_review_and_length",
            ),
            Sort::Similar => (
                Some(("nearest_rouge_l", Column::Similarity)),
                Some("task_by_nearest"),
                "task_by_review_and_nearest",
            ),
            Sort::Score => (
                Some(("score", Column::Score)),
                Some("task_by_score"),
                "task_by_review_and_score",
            ),
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
    fn wanted(&self) -> Wanted {
        match self.column {
            None => Wanted::Ids,
            Some((_, column)) => Wanted::Sorted(column),
        }
    }

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
    fn statement(
        &self,
        way: &QueryPlan,
        part: Part,
        place: Option<&Place>,
        backwards: bool,
        limit: i64,
    ) -> Sql {
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
        if let (Some((name, _)), true) = (self.column, self.nullable) {
            match part {
                Part::Rest => sql.push(" AND +task.").push(name).push(" IS NULL"),
                Part::Ties | Part::Valued => sql.push(" AND task.").push(name).push(" IS NOT NULL"),
            };
        }
        if let (Some((name, _)), Some(value)) = (column, place.and_then(|place| place.value.clone())) {
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
            sql.push(" AND ")
                .push(way.id())
                .push(sign)
                .values(&[place.id.into()]);
        }
        sql.push(" ORDER BY ");
        if let (Some((name, _)), Part::Valued) = (column, part) {
            sql.push("task.").push(name).push(direction).push(", ");
        }
        sql.push(way.id()).push(direction);
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
        let mut way = self.way(filter, key.wanted()).await?;
        let mut ids = Vec::new();
        for part in key.parts(place.as_ref(), backwards) {
            let left = limit - ids.len() as i64;
            if left == 0 || part == Part::Rest && way.has_range() {
                continue;
            }
            let statement = |way: &QueryPlan| key.statement(way, part, place.as_ref(), backwards, left);
            let found;
            if part == Part::Rest {
                // These are in the order of ids.
                (found, _) = self
                    .found(self.way(filter, Wanted::Ids).await?, statement)
                    .await?;
            } else {
                (found, way) = self.found(way, statement).await?;
            }
            ids.extend(found);
        }
        Ok(ids)
    }

    /// What a statement finds on its way, or on another one where that is faster, and the way that was.
    async fn found(
        &self,
        way: QueryPlan,
        statement: impl Fn(&QueryPlan) -> Sql,
    ) -> Result<(Vec<i64>, QueryPlan)> {
        let mut first = pin!(self.numbers(statement(&way)));
        if !way.is_a_guess() {
            return Ok((first.await?, way));
        }
        if let Ok(found) = timeout(PATIENCE, &mut first).await {
            return Ok((found?, way));
        }
        let mut second = pin!(async {
            match self.other_way(&way).await? {
                Some(other) => Ok((self.numbers(statement(&other)).await?, other)),
                None => std::future::pending().await,
            }
        });
        // The one that is dropped is broken off.
        tokio::select! {
            found = &mut first => Ok((found?, way.clone())),
            found = &mut second => found,
        }
    }

    /// How many tasks `filter` lets through; with `most`, no more than that are counted.
    pub async fn count(&self, filter: &Filter, most: Option<i64>) -> Result<i64> {
        let way = self.way(filter, Wanted::All).await?;
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
        Ok(self.numbers(sql).await?.iter().sum())
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
            Some((_, Column::Length)) => Some(Value::Integer(row.length)),
            Some((_, Column::Score)) => row.score.map(Value::Real),
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const TASKS: i64 = 600;

    async fn mixed(dir: &tempfile::TempDir) -> Store {
        let store = Store::create(&dir.path().join("d.db")).await.unwrap();
        for statement in [
            "INSERT INTO run (command, config) VALUES ('a', '{}'), ('b', '{}')",
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)
            INSERT INTO task (id, instruction, is_classification, origin, review, run_id)
            SELECT
                i, 'Ubiq ' || iif(i % 9 = 0, 'rare ', '') || substr('xxxxxxxxxxxx', 1, i * 7 % 11), i % 12 = 0,
                iif(i % 5 = 0, 'import', 'machine'), iif(i % 7 = 0, 'accepted', iif(i % 11 = 0, 'rejected', 'pending')),
                1 + i % 2
            FROM n",
            "INSERT INTO instance (task_id, ordinal, input, output)
            SELECT id, n.ordinal, '', iif(id % 24 < 13, 'Yes', 'no')
            FROM task, (SELECT 0 AS ordinal UNION ALL SELECT 1) AS n
            WHERE n.ordinal <= id % 2",
            "UPDATE task SET nearest_rouge_l = id * 31 % 70 / 100.0 WHERE id % 5 > 0",
            "UPDATE task SET score = 1 + id % 5 WHERE id % 4 = 1",
            "INSERT INTO revision (id, group_id, task_id, who, action, before, after, note)
            SELECT id, id, id, 'f', 'reject', '{}', '{}', iif(id % 3 = 0, 'echo: a', 'echoed') FROM task WHERE review = 'rejected'",
        ] {
            sqlx::query(statement).execute(&store.pool).await.unwrap();
        }
        store
    }

    /// Two conditions of each pair of kinds.
    fn filters() -> Vec<Filter> {
        let one = [
            r#""review":"pending""#,
            r#""origin":"import""#,
            r#""run_id":2"#,
            r#""is_classification":true"#,
            r#""is_classification":false"#,
            r#""label":"YES""#,
            r#""min_length":10"#,
            r#""max_similarity":0.4"#,
            r#""min_score":2,"max_score":4"#,
            r#""reason":"echo""#,
            r#""text":"rare""#,
        ];
        let two = one
            .iter()
            .flat_map(|a| one.iter().map(move |b| format!("{{{a},{b}}}")));
        two.filter_map(|text| serde_json::from_str(&text).ok()).collect()
    }

    #[tokio::test]
    async fn every_way_finds_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let store = mixed(&dir).await;
        let sorts = [
            Sort::Id,
            Sort::Newest,
            Sort::Longest,
            Sort::Shortest,
            Sort::Similar,
            Sort::Score,
        ];
        let mut found = 0;
        for filter in filters() {
            for sort in sorts {
                let key = sort.key();
                let mut lists = Vec::new();
                for way in store.ways(&filter, key.wanted()).await.unwrap() {
                    let mut ids = Vec::new();
                    for part in key.parts(None, false) {
                        if part == Part::Rest && way.has_range() {
                            continue;
                        }
                        let statement = key.statement(&way, part, None, false, TASKS);
                        ids.extend(store.numbers(statement).await.unwrap());
                    }
                    lists.push(ids);
                }
                let usual = store.ids(&filter, sort, Position::Start, TASKS).await.unwrap();
                for list in &lists {
                    assert_eq!(list, &usual, "{sort:?} {filter:?}");
                }
                assert_eq!(store.count(&filter, None).await.unwrap(), usual.len() as i64);
                found += usual.len() * (lists.len() - 1);
            }
        }
        assert!(found > 50_000, "{found}");
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_broken_off() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(&dir.path().join("d.db")).await.unwrap();
        let endless = || {
            let mut sql = Sql::default();
            sql.push(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
            );
            sql
        };
        // More than there are connections, so that one that went on would be missed.
        for _ in 0..12 {
            assert!(
                timeout(Duration::from_millis(20), store.numbers(endless()))
                    .await
                    .is_err()
            );
        }
        let begun = Instant::now();
        assert_eq!(store.count(&Filter::default(), None).await.unwrap(), 0);
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    }
}
