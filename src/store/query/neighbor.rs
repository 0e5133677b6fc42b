//! Table `neighbor`: the most similar tasks of each task.

use crate::store::rows::json_rows;
use crate::store::{Result, Store};
use crate::task::Review;

/// A task similar to another.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct StoredNeighbor {
    /// 1 for the nearest.
    pub rank: i64,
    /// The similar task's id.
    pub id: i64,
    /// ROUGE-L F1 of the two instructions, 0 to 1.
    pub rouge_l: f64,
    /// What people think of the similar task.
    pub review: Review,
    /// Its instruction.
    pub instruction: String,
}

/// The most similar tasks of one task, to store.
#[derive(Debug, Clone, PartialEq)]
pub struct NewNeighbors {
    /// The task's id.
    pub task_id: i64,
    /// Ids of the similar tasks with their ROUGE-L F1, the nearest first.
    pub similar: Vec<(i64, f64)>,
}

impl Store {
    /// Returns the most similar tasks of this one, the nearest first.
    pub async fn neighbors(&self, task_id: i64) -> Result<Vec<StoredNeighbor>> {
        let neighbors = sqlx::query_as!(
            StoredNeighbor,
            r#"
            SELECT
                neighbor.rank, neighbor.neighbor_id AS id, neighbor.rouge_l, task.review AS "review: Review",
                task.instruction
            FROM neighbor
            JOIN task ON task.id = neighbor.neighbor_id
            WHERE neighbor.task_id = ?
            ORDER BY neighbor.rank
            "#,
            task_id
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(neighbors)
    }

    /// Returns the tasks whose neighbors are not stored yet: those of a run that ended early, or of
    /// an older ewe's import.
    pub async fn tasks_without_neighbors(&self) -> Result<Vec<i64>> {
        let ids = sqlx::query_scalar!(
            "
            SELECT id
            FROM task
            WHERE NOT EXISTS (SELECT 1 FROM neighbor WHERE neighbor.task_id = task.id)
            ORDER BY id
            "
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(ids)
    }

    /// Stores the neighbors of many tasks as one transaction, in place of what was stored.
    pub async fn set_neighbors(&self, tasks: &[NewNeighbors]) -> Result<()> {
        let ids: Vec<i64> = tasks.iter().map(|task| task.task_id).collect();
        let rows: Vec<(i64, i64, i64, f64)> = tasks
            .iter()
            .flat_map(|NewNeighbors { task_id, similar }| {
                (1..)
                    .zip(similar)
                    .map(|(rank, &(neighbor_id, rouge_l))| (*task_id, neighbor_id, rank, rouge_l))
            })
            .collect();
        let (ids, rows) = (json_rows(&ids), json_rows(&rows));
        let mut transaction = self.write().await?;
        sqlx::query!(
            "DELETE FROM neighbor WHERE task_id IN (SELECT value FROM json_each(?))",
            ids
        )
        .execute(&mut *transaction)
        .await?;
        sqlx::query!(
            "
            INSERT INTO neighbor (task_id, neighbor_id, rank, rouge_l)
            SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3
            FROM json_each(?)
            ",
            rows
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }
}
