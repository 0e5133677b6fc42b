//! Where a task came from, and what it is like: reads `request` and `neighbor` for one task.

use super::{Result, Store};
use crate::task::Review;

/// The model call that wrote a task's instruction or an instance of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Provenance {
    /// The request's id.
    pub request_id: i64,
    /// The run that asked.
    pub run_id: i64,
    /// The model that answered, as the run names it.
    pub model: Option<String>,
    /// The round it belongs to.
    pub round: i64,
    /// The stage of generation.
    pub stage: String,
    /// What the model was given.
    pub prompt: String,
    /// What it answered, unparsed.
    pub response: String,
    /// Why it ended.
    pub finish_reason: String,
    /// Tokens of the prompt.
    pub prompt_tokens: i64,
    /// Tokens of the answer.
    pub completion_tokens: i64,
    /// When the answer was stored, UTC.
    pub created_at: String,
}

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

impl Store {
    /// The model calls that a task came from: the one that wrote the instruction first, then those of its instances.
    /// None for seeds and imports.
    pub async fn provenance(&self, task_id: i64) -> Result<Vec<Provenance>> {
        let calls = sqlx::query_as!(
            Provenance,
            r#"
            SELECT
                request.id AS request_id, request.run_id, run.model, request.round, request.stage, request.prompt,
                request.response, request.finish_reason, request.prompt_tokens, request.completion_tokens,
                request.created_at
            FROM request
            JOIN run ON run.id = request.run_id
            WHERE request.id IN (
                SELECT request_id
                FROM task
                WHERE id = ?1
                UNION
                SELECT request_id
                FROM candidate
                WHERE task_id = ?1
            )
            ORDER BY request.id
            "#,
            task_id
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(calls)
    }

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
}
