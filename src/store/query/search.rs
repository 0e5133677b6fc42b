//! Full-text search in table `task_fts`.

use super::{fts, sql::Sql};
use crate::store::rows::json_rows;
use crate::store::{Filter, Position, Result, Sort, Store};

/// The most matches that are ranked; more take longer than people wait.
const RANKED: i64 = 10_000;

/// A task found by full-text search.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Hit {
    /// The task's id.
    pub id: i64,
    /// What people think of it.
    pub review: crate::task::Review,
    /// What to do.
    pub instruction: String,
    /// Text around the matches, which are enclosed in U+0002 and U+0003.
    pub snippet: String,
}

impl Store {
    /// Returns tasks with these words that pass `filter`, the best match first; none for an empty
    /// query. If very many tasks have the words, ranking says little, and the first of them are
    /// returned in order of ids. The words replace those of the filter.
    pub async fn search(&self, typed: &str, filter: &Filter, limit: i64) -> Result<Vec<Hit>> {
        let Some(query) = fts::query(typed) else {
            return Ok(Vec::new());
        };
        let filter = Filter {
            text: None,
            ..filter.clone()
        };
        let found = sqlx::query_scalar!(
            r#"
            SELECT count(*) AS "count!: i64"
            FROM (SELECT 1 FROM task_fts WHERE task_fts MATCH ? LIMIT ?)
            "#,
            query,
            RANKED
        )
        .fetch_one(&self.pool)
        .await?;
        let ids = if found < RANKED {
            self.best(&query, &filter, limit).await?
        } else {
            let text = Some(typed.to_owned());
            let filter = Filter { text, ..filter };
            self.ids(&filter, Sort::Id, Position::Start, limit).await?
        };
        let ids = json_rows(&ids);
        // The words are searched again in the tasks to show, for their snippets.
        let hits = sqlx::query_as!(
            Hit,
            r#"
            SELECT
                task.id, task.review AS "review: crate::task::Review", task.instruction,
                snippet(task_fts, -1, char(2), char(3), '…', 24) AS "snippet!: String"
            FROM json_each(?1) AS wanted
            CROSS JOIN task ON task.id = wanted.value
            CROSS JOIN task_fts ON task_fts.rowid = task.id
            WHERE task_fts MATCH ?2
            ORDER BY wanted.key
            "#,
            ids,
            query
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(hits)
    }

    /// Returns the ids of the best matches that pass a filter without words.
    async fn best(&self, query: &str, filter: &Filter, limit: i64) -> Result<Vec<i64>> {
        let mut sql = Sql::default();
        sql.push(
            "SELECT task.id
            FROM (SELECT rowid, rank FROM task_fts WHERE task_fts MATCH ? ORDER BY rank, rowid) AS found
            CROSS JOIN task ON task.id = found.rowid
            WHERE 1",
        )
        .values(&[query.into()]);
        filter.push_rows(&mut sql);
        sql.push(" ORDER BY found.rank, found.rowid LIMIT ?")
            .values(&[limit.into()]);
        self.numbers(sql).await
    }
}
