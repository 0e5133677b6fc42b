//! Adds many tasks in one transaction: the seeds of `init`, all or none.

use sqlx::{Sqlite, Transaction};

use super::bulk_guard;
use crate::store::{NewTask, Result, Store, task};

/// An open transaction with a run of its own. Dropped before [`TaskBatch::commit`], it changes
/// nothing.
#[derive(Debug)]
pub struct TaskBatch {
    transaction: Transaction<'static, Sqlite>,
    run_id: i64,
    first: i64,
    tasks: usize,
}

impl Store {
    /// Begins a batch as a run of `command` with this configuration. Other writers wait until it
    /// ends.
    pub async fn begin_batch(&self, command: &str, config: &serde_json::Value) -> Result<TaskBatch> {
        let mut transaction = self.write().await?;
        let config = config.to_string();
        let run = sqlx::query!(
            "
            INSERT INTO run (command, config)
            VALUES (?, ?)
            ",
            command,
            config
        )
        .execute(&mut *transaction)
        .await?;
        let first = bulk_guard::begin(&mut transaction).await?;
        Ok(TaskBatch {
            transaction,
            run_id: run.last_insert_rowid(),
            first,
            tasks: 0,
        })
    }
}

impl TaskBatch {
    /// Adds a task to the run, and returns its id.
    pub async fn add(&mut self, mut new: NewTask) -> Result<i64> {
        new.run_id = Some(self.run_id);
        let id = self.first + self.tasks as i64;
        task::insert(&mut self.transaction, id, &new).await?;
        self.tasks += 1;
        Ok(id)
    }

    /// Commits the batch, and returns the number of tasks.
    pub async fn commit(mut self) -> Result<usize> {
        bulk_guard::end(&mut self.transaction, self.first).await?;
        sqlx::query!(
            "
            UPDATE run
            SET status = 'done', ended_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
            WHERE id = ?
            ",
            self.run_id
        )
        .execute(&mut *self.transaction)
        .await?;
        self.transaction.commit().await?;
        Ok(self.tasks)
    }
}
