//! Table `instance`: inputs and outputs of tasks.

use std::collections::HashMap;

use sqlx::SqliteConnection;

use super::{Result, Store, rows::json_rows};
use crate::task::Instance;

/// A stored instance.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StoredInstance {
    /// Its id.
    pub id: i64,
    /// Its place within the task: 0, 1, 2 …
    pub ordinal: i64,
    /// The input; may be empty.
    pub input: String,
    /// The output.
    pub output: String,
    /// Its row in the source file, from 1.
    pub source_row: Option<i64>,
    /// Other fields of that row, as a JSON object.
    pub extra: Option<String>,
    /// The messages after the first answer, as a JSON list; none if the output is the last.
    pub turns: Option<String>,
}

/// Inserts an instance within the caller's transaction. Returns its id.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    task_id: i64,
    ordinal: i64,
    instance: &Instance,
    source_row: Option<i64>,
    extra: Option<&str>,
) -> Result<i64> {
    let added = sqlx::query!(
        "
        INSERT INTO instance (task_id, ordinal, input, output, source_row, extra)
        VALUES (?, ?, ?, ?, ?, ?)
        ",
        task_id,
        ordinal,
        instance.input,
        instance.output,
        source_row,
        extra
    )
    .execute(connection)
    .await?;
    Ok(added.last_insert_rowid())
}

impl Store {
    /// Returns the instances of a task, in order.
    pub async fn instances(&self, task_id: i64) -> Result<Vec<StoredInstance>> {
        let instances = sqlx::query_as!(
            StoredInstance,
            "
            SELECT id, ordinal, input, output, source_row, extra, turns
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

    /// Returns the later messages of the conversations among the instances of many tasks, by task
    /// and place within the task, as JSON lists.
    pub async fn turns_of(&self, task_ids: &[i64]) -> Result<HashMap<(i64, i64), String>> {
        let ids = json_rows(task_ids);
        let rows = sqlx::query!(
            r#"
            SELECT task_id, ordinal, turns AS "turns!"
            FROM instance
            WHERE turns IS NOT NULL AND task_id IN (SELECT value FROM json_each(?))
            "#,
            ids
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| ((row.task_id, row.ordinal), row.turns))
            .collect())
    }

    /// Returns the instances of many tasks, each with its task's id, in the order of the ids.
    pub async fn instances_of(&self, task_ids: &[i64]) -> Result<Vec<(i64, Instance)>> {
        let ids = json_rows(task_ids);
        let rows = sqlx::query!(
            "
            SELECT task_id, input, output
            FROM instance
            WHERE task_id IN (SELECT value FROM json_each(?))
            ORDER BY task_id, ordinal
            ",
            ids
        )
        .fetch_all(&self.pool)
        .await?;
        let instance = |input, output| Instance { input, output };
        Ok(rows
            .into_iter()
            .map(|row| (row.task_id, instance(row.input, row.output)))
            .collect())
    }
}
