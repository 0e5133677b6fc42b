//! Whether somebody has written to the file, whoever it was.

use sqlx::{SqlitePool, sqlite::SqlitePoolOptions};

use super::open::note_opened;
use crate::store::rows::json_rows;
use crate::store::{Result, Store};
use crate::task::Review;

/// A connection that only looks: SQLite tells each connection when another one, of any process, has committed. It is a pool of
/// one, so that it is closed with all others.
#[derive(Debug, Clone)]
pub struct Watch(SqlitePool);

/// What a list shows of a task and may change.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Glance {
    /// The task's id.
    pub id: i64,
    /// What people think of it.
    pub review: Review,
    /// Its version: see [`Store::version`].
    pub version: i64,
    /// What is to be done.
    pub instruction: String,
}

impl Watch {
    /// A number that is another one after each commit to the file.
    pub async fn commits(&self) -> Result<i64> {
        // The sum: sqlx asks SQLite where a bare column comes from, and a pragma's is from no table.
        Ok(
            sqlx::query_scalar!(r#"SELECT data_version + 0 AS "version!: i64" FROM pragma_data_version"#)
                .fetch_one(&self.0)
                .await?,
        )
    }
}

impl Store {
    /// Begins to watch the file.
    pub async fn watch(&self) -> Result<Watch> {
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(self.options.clone())
            .await?;
        note_opened(&pool);
        Ok(Watch(pool))
    }

    /// These tasks as they are now, those of them that exist.
    pub async fn glance(&self, ids: &[i64]) -> Result<Vec<Glance>> {
        let ids = json_rows(ids);
        Ok(sqlx::query_as!(
            Glance,
            r#"
            SELECT
                task.id, task.review AS "review: Review", task.instruction,
                (SELECT coalesce(max(revision.id), 0) FROM revision WHERE revision.task_id = task.id) AS "version!: i64"
            FROM task
            WHERE task.id IN (SELECT value FROM json_each(?))
            "#,
            ids
        )
        .fetch_all(&self.pool)
        .await?)
    }
}
