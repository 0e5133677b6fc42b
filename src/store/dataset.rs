//! View `dataset`: what training reads and what is exported.

use futures::{Stream, StreamExt};

use super::{Error, Filter, Result, Store};
use crate::store::query::query_plan::{BY_ID, Wanted};
use crate::store::query::sql::Sql;
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
    /// What a system message says.
    pub system: Option<String>,
    /// Other fields of the row of the file it came from, a JSON object.
    pub extra: Option<String>,
}

/// A row of the dataset with what only files of tasks have a place for.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
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
    /// The system message that stands before it.
    pub system: Option<String>,
    /// What else its file said of it, as a JSON object.
    pub extra: Option<String>,
}

/// Which fields a file needs that has any row of the dataset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// A task has several instances.
    pub groups: bool,
    /// A task has a system message.
    pub systems: bool,
}

impl Store {
    /// Which fields an export needs.
    pub async fn export_needs(&self) -> Result<Needs> {
        let (groups, systems) = sqlx::query_as(
            "SELECT
                EXISTS (SELECT 1 FROM instance WHERE ordinal > 0),
                EXISTS (SELECT 1 FROM task WHERE system IS NOT NULL)",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(Needs { groups, systems })
    }

    /// What `filter` lets through of the dataset, in the order of task and instance, a row at a time and all of one
    /// moment; with `min_score`, only rows that were judged and have at least that score themselves. What was rejected is
    /// not in the dataset, whatever the filter says.
    pub async fn export_rows(
        &self,
        filter: &Filter,
        min_score: Option<f64>,
    ) -> Result<impl Stream<Item = Result<ExportRow>> + Unpin + '_> {
        let way = self.way(filter, Wanted::All).await?;
        let mut sql = Sql::default();
        sql.push(
            "SELECT
                task.id AS task_id, task.source_id, task.name, task.instruction, instance.input, instance.output,
                task.is_classification, task.system, instance.extra",
        );
        way.push(
            &mut sql,
            BY_ID,
            " CROSS JOIN instance ON instance.task_id = task.id",
        );
        sql.push(" AND +task.review <> 'rejected'");
        if let Some(min_score) = min_score {
            sql.push(
                " AND (SELECT avg(judged.score) FROM judged WHERE judged.instance_id = instance.id) >= ?",
            )
            .values(&[min_score.into()]);
        }
        sql.push(" ORDER BY task.id, instance.id");
        let (text, values) = sql.finish();
        Ok(sqlx::query_as_with::<_, ExportRow, _>(text, values)
            .fetch(&self.pool)
            .map(|row| row.map_err(Error::from)))
    }

    /// The dataset in the order of task and instance; with `review`, only rows of that review.
    pub async fn dataset(&self, review: Option<Review>) -> Result<Vec<DatasetRow>> {
        let rows = sqlx::query_as!(
            DatasetRow,
            r#"
            SELECT
                task_id AS "task_id!", instance_id AS "instance_id!", instruction AS "instruction!",
                input AS "input!", output AS "output!", is_classification AS "is_classification!: bool",
                origin AS "origin!: Origin", review AS "review!: Review", run_id, created_at AS "created_at!",
                system, extra
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
