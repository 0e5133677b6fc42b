//! Many tasks as one transaction: what `init` and `import` bring in, whole or not at all.

use sqlx::{Sqlite, Transaction};

use super::bulk_guard;
use crate::store::{NewTask, Result, Store, task};

/// An open transaction with a run of its own. Dropped before [`Batch::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct Batch {
    transaction: Transaction<'static, Sqlite>,
    run_id: i64,
    first: i64,
    tasks: usize,
}

impl Store {
    /// Starts to bring tasks in, as a run of `command` with this configuration. Others cannot write until it ends.
    pub async fn begin_batch(&self, command: &str, config: &serde_json::Value) -> Result<Batch> {
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
        Ok(Batch {
            transaction,
            run_id: run.last_insert_rowid(),
            first,
            tasks: 0,
        })
    }
}

impl Batch {
    /// Adds a task as one of this run; returns its id.
    pub async fn add(&mut self, mut new: NewTask) -> Result<i64> {
        new.run_id = Some(self.run_id);
        let id = self.first + self.tasks as i64;
        task::insert(&mut self.transaction, id, &new).await?;
        self.tasks += 1;
        Ok(id)
    }

    /// Keeps all of it; returns how many tasks that is.
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
