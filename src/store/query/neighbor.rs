//! Table `neighbor`: the tasks most similar to each.

use crate::store::rows::json_rows;
use crate::store::{Result, Store};
use crate::task::Review;

/// A task similar to another.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Neighbor {
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

/// The tasks most similar to one, as they are stored.
#[derive(Debug, Clone, PartialEq)]
pub struct NewNeighbors {
    /// The task.
    pub task_id: i64,
    /// The similar tasks and ROUGE-L F1 with each, the nearest first.
    pub similar: Vec<(i64, f64)>,
}

impl Store {
    /// The tasks most similar to this one, the nearest first.
    pub async fn neighbors(&self, task_id: i64) -> Result<Vec<Neighbor>> {
        let neighbors = sqlx::query_as!(
            Neighbor,
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

    /// The tasks whose neighbours were not stored yet: those of a run that ended early, or of an older ewe's import.
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

    /// Stores the neighbours of many tasks, as one transaction. What was stored of the same tasks is replaced.
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
