//! View `dataset`: what training reads and what is exported.

use super::{Result, Store};
use crate::task::{Origin, Review};

/// One example: an instance with its task's instruction.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DatasetRow {
    /// The task.
    pub task_id: i64,
    /// The instance.
    pub instance_id: i64,
    /// What is to be done.
    pub instruction: String,
    /// What it is to be done to; may be empty.
    pub input: String,
    /// The answer.
    pub output: String,
    /// Whether the answer is one of a few labels.
    pub is_classification: bool,
    /// Where the task came from.
    pub origin: Origin,
    /// Pending or accepted; what is rejected is not in the dataset.
    pub review: Review,
    /// The run that brought the task in.
    pub run_id: Option<i64>,
    /// When the task was stored, UTC.
    pub created_at: String,
}

impl Store {
    /// The dataset in the order of task and instance; with `review`, only rows of that review.
    pub async fn dataset(&self, review: Option<Review>) -> Result<Vec<DatasetRow>> {
        let rows = sqlx::query_as!(
            DatasetRow,
            r#"
            SELECT
                task_id AS "task_id!", instance_id AS "instance_id!", instruction AS "instruction!",
                input AS "input!", output AS "output!", is_classification AS "is_classification!: bool",
                origin AS "origin!: Origin", review AS "review!: Review", run_id, created_at AS "created_at!"
            FROM dataset
            WHERE ?1 IS NULL OR review = ?1
            ORDER BY task_id, instance_id
            "#,
            review
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows)
    }
}
