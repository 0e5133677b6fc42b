//! Where a task came from: its requests, or its source file.

use crate::store::{Result, Store};

/// The request whose response has a task's instruction or an instance of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Provenance {
    /// The request's id.
    pub request_id: i64,
    /// The run that asked.
    pub run_id: i64,
    /// The model, as the run names it.
    pub model: Option<String>,
    /// Its round.
    pub round: i64,
    /// Its stage.
    pub stage: String,
    /// The prompt.
    pub prompt: String,
    /// The response, unparsed.
    pub response: String,
    /// The model's reasoning, if the server returned it apart.
    pub reasoning: String,
    /// Why the response ended.
    pub finish_reason: String,
    /// Tokens of the prompt.
    pub prompt_tokens: i64,
    /// Tokens of the response.
    pub completion_tokens: i64,
    /// When the response was stored, in UTC.
    pub created_at: String,
}

/// The file that a task was read from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SourceFile {
    /// Its path, as given.
    pub file: String,
    /// The run that read it.
    pub run_id: i64,
    /// When that run began, in UTC.
    pub read_at: String,
    /// The first row of the task, from 1; `None` if that was not recorded.
    pub first_row: Option<i64>,
    /// The last row of the task.
    pub last_row: Option<i64>,
}

impl Store {
    /// Returns the file that a task was read from; `None` for generated tasks.
    pub async fn source_file(&self, task_id: i64) -> Result<Option<SourceFile>> {
        let source = sqlx::query_as!(
            SourceFile,
            r#"
            SELECT
                coalesce(run.config ->> 'file', run.config ->> 'seeds') AS "file!: String", run.id AS "run_id!",
                run.started_at AS read_at,
                (SELECT min(source_row) FROM instance WHERE task_id = task.id) AS "first_row?: i64",
                (SELECT max(source_row) FROM instance WHERE task_id = task.id) AS "last_row?: i64"
            FROM task
            JOIN run ON run.id = task.run_id
            WHERE task.id = ?
                AND run.command IN ('import', 'init')
                AND coalesce(run.config ->> 'file', run.config ->> 'seeds') IS NOT NULL
            "#,
            task_id
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(source)
    }

    /// Returns the requests that a task came from: that of the instruction first, then those of its
    /// instances. Empty for seeds and imports.
    pub async fn provenance(&self, task_id: i64) -> Result<Vec<Provenance>> {
        let calls = sqlx::query_as!(
            Provenance,
            r#"
            SELECT
                request.id AS request_id, request.run_id, run.model, request.round, request.stage, request.prompt,
                request.response, request.reasoning, request.finish_reason, request.prompt_tokens, request.completion_tokens,
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
}
