//! Notices when anybody has written to the file.

use sqlx::{SqlitePool, sqlite::SqlitePoolOptions};

use super::open::note_opened;
use crate::store::rows::json_rows;
use crate::store::{Result, Store};
use crate::task::Review;

/// A connection that only watches: SQLite tells each connection when another one, of any process,
/// has committed. It is a pool of one, so that it is closed with all others.
#[derive(Debug, Clone)]
pub struct Watch(SqlitePool);

/// The parts of a listed task that may change.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Glance {
    /// The task's id.
    pub id: i64,
    /// What people think of it.
    pub review: Review,
    /// Its version, see [`Store::version`].
    pub version: i64,
    /// The number of its latest change of any kind, opinions and comments, too.
    pub touched: i64,
    /// What to do.
    pub instruction: String,
}

impl Watch {
    /// Returns a number that changes after each commit to the file.
    pub async fn commits(&self) -> Result<i64> {
        // The sum: sqlx asks SQLite for the table of a bare column, and a pragma's has none.
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

    /// Returns these tasks as they are now, those of them that exist.
    pub async fn glance(&self, ids: &[i64]) -> Result<Vec<Glance>> {
        let ids = json_rows(ids);
        Ok(sqlx::query_as!(
            Glance,
            r#"
            SELECT
                task.id, task.review AS "review: Review", task.instruction,
                (
                    SELECT coalesce(max(revision.id), 0)
                    FROM revision
                    WHERE revision.task_id = task.id AND (about IS NULL OR after ->> 'review' IS NOT NULL)
                ) AS "version!: i64",
                (SELECT coalesce(max(revision.id), 0) FROM revision WHERE revision.task_id = task.id) AS "touched!: i64"
            FROM task
            WHERE task.id IN (SELECT value FROM json_each(?))
            "#,
            ids
        )
        .fetch_all(&self.pool)
        .await?)
    }
}
