//! Table `held_out`: the tasks set apart for evaluation.

use crate::store::rows::json_rows;
use crate::store::{Filter, Position, Result, Sort, Store};
use crate::task::Origin;

/// A task of the dataset that may be held out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitTask {
    /// Its id.
    pub id: i64,
    /// Where it came from.
    pub origin: Origin,
    /// Whether the output is one of a few labels.
    pub is_classification: bool,
    /// The output of its first instance.
    pub output: String,
    /// Whether it is held out already.
    pub is_held_out: bool,
}

impl Store {
    /// Returns the ids of the tasks that are held out, in order; also of those that were rejected
    /// since.
    pub async fn held_out(&self) -> Result<Vec<i64>> {
        Ok(sqlx::query_scalar!(
            r#"
            SELECT task_id AS "task_id!"
            FROM held_out
            ORDER BY task_id
            "#
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Returns the tasks of the dataset that pass `filter`, in order of ids. Tasks without
    /// instances are not in the dataset.
    pub async fn split_tasks(&self, filter: &Filter) -> Result<Vec<SplitTask>> {
        let filter = Filter {
            in_dataset: true,
            ..filter.clone()
        };
        let ids = self.ids(&filter, Sort::Id, Position::Start, i64::MAX).await?;
        let ids = json_rows(&ids);
        Ok(sqlx::query_as!(
            SplitTask,
            r#"
            SELECT
                task.id AS "id!", task.origin AS "origin: Origin", task.is_classification AS "is_classification: bool",
                first.output AS "output!",
                EXISTS (SELECT 1 FROM held_out WHERE held_out.task_id = task.id) AS "is_held_out!: bool"
            FROM json_each(?) AS wanted
            CROSS JOIN task ON task.id = wanted.value
            JOIN instance AS first ON first.task_id = task.id AND first.ordinal = 0
            ORDER BY wanted.key
            "#,
            ids
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Holds tasks out, for a run of `split`. Those that are held out already stay so, with the run
    /// that did it.
    pub async fn hold_out(&self, task_ids: &[i64], run_id: i64) -> Result<()> {
        let ids = json_rows(task_ids);
        let mut transaction = self.write().await?;
        sqlx::query!(
            "
            INSERT OR IGNORE INTO held_out (task_id, run_id)
            SELECT value, ?
            FROM json_each(?)
            ",
            run_id,
            ids
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Holds no task out any more.
    pub async fn hold_out_none(&self) -> Result<()> {
        let mut transaction = self.write().await?;
        sqlx::query!("DELETE FROM held_out")
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }
}
