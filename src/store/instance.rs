//! Table `instance`: inputs and outputs of tasks.

use sqlx::SqliteConnection;

use super::{Result, Store};
use crate::task::Instance;

/// An instance as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StoredInstance {
    /// Its id.
    pub id: i64,
    /// Its place within the task: 0, 1, 2 …
    pub ordinal: i64,
    /// What the instruction is applied to; may be empty.
    pub input: String,
    /// The answer.
    pub output: String,
}

/// Adds an instance within the caller's transaction; returns its id.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    task_id: i64,
    ordinal: i64,
    instance: &Instance,
) -> Result<i64> {
    let added = sqlx::query!(
        "
        INSERT INTO instance (task_id, ordinal, input, output)
        VALUES (?, ?, ?, ?)
        ",
        task_id,
        ordinal,
        instance.input,
        instance.output
    )
    .execute(connection)
    .await?;
    Ok(added.last_insert_rowid())
}

impl Store {
    /// The instances of a task, in order.
    pub async fn instances(&self, task_id: i64) -> Result<Vec<StoredInstance>> {
        let instances = sqlx::query_as!(
            StoredInstance,
            "
            SELECT id, ordinal, input, output
            FROM instance
            WHERE task_id = ?
            ORDER BY ordinal
            ",
            task_id
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(instances)
    }
}
