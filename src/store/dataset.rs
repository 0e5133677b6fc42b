//! View `dataset`: what training reads and what is exported.

use futures::{Stream, StreamExt};

use super::{Error, Result, Store};
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

/// A row of the dataset with what only files of tasks have a place for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportRow {
    /// The task.
    pub task_id: i64,
    /// The id it had in the file it came from.
    pub source_id: Option<String>,
    /// The task's short name.
    pub name: Option<String>,
    /// What is to be done.
    pub instruction: String,
    /// What it is to be done to; may be empty.
    pub input: String,
    /// The answer.
    pub output: String,
    /// Whether the answer is one of a few labels.
    pub is_classification: bool,
}

impl Store {
    /// The dataset in the order of task and instance, a row at a time and all of one moment; with `review`, only rows
    /// of that review; with `min_score`, only rows that were judged and have at least that score.
    pub fn export_rows(
        &self,
        review: Option<Review>,
        min_score: Option<f64>,
    ) -> impl Stream<Item = Result<ExportRow>> + '_ {
        sqlx::query_as!(
            ExportRow,
            r#"
            SELECT
                dataset.task_id AS "task_id!", task.source_id, task.name, dataset.instruction AS "instruction!",
                dataset.input AS "input!", dataset.output AS "output!",
                dataset.is_classification AS "is_classification!: bool"
            FROM dataset
            JOIN task ON task.id = dataset.task_id
            WHERE (?1 IS NULL OR dataset.review = ?1)
                AND (
                    ?2 IS NULL
                    OR (SELECT avg(judged.score) FROM judged WHERE judged.instance_id = dataset.instance_id) >= ?2
                )
            ORDER BY dataset.task_id, dataset.instance_id
            "#,
            review,
            min_score
        )
        .fetch(&self.pool)
        .map(|row| row.map_err(Error::from))
    }

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
