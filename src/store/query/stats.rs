//! Counts over all tables: the figures of `stats`, of the page's dashboard and of the report.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;

use super::tally::{self, CandidateTally, Roots, TaskTally};
use crate::store::rows::json_rows;
use crate::store::{Result, Store};

/// The cost of a run.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RunCost {
    /// The run's id.
    pub run_id: i64,
    /// Its command.
    pub command: String,
    /// The model it asked.
    pub model: Option<String>,
    /// Its status.
    pub status: crate::store::RunStatus,
    /// When it started, in UTC.
    pub started_at: String,
    /// When it ended, in UTC.
    pub ended_at: Option<String>,
    /// Requests with a response.
    pub requests: i64,
    /// Tokens of all prompts.
    pub prompt_tokens: i64,
    /// Tokens of all responses.
    pub completion_tokens: i64,
    /// Tasks it added.
    pub tasks: i64,
}

/// All counts, of one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Totals {
    /// Tasks.
    pub tasks: TaskTally,
    /// Tasks that are held out and not rejected.
    pub held_out: i64,
    /// Candidates.
    pub candidates: CandidateTally,
    /// Tasks that people made of rejected candidates, unless that was taken back.
    pub rescued: i64,
    /// The cost of each run, in order.
    pub runs: Vec<RunCost>,
    /// The configuration of each run, as JSON.
    pub configs: BTreeMap<i64, String>,
    /// When the first round of each span of `candidates`, or the next one, was admitted, in UTC.
    pub admitted: BTreeMap<i64, String>,
}

impl Store {
    /// Returns the cost of each run, in order.
    pub async fn run_costs(&self) -> Result<Vec<RunCost>> {
        run_costs(&mut *self.pool.acquire().await?).await
    }

    /// Counts everything, with at most `most_spans` spans of rounds.
    pub async fn totals(&self, roots: Roots, most_spans: i64) -> Result<Totals> {
        // One transaction, so that the counts agree.
        let mut transaction = self.pool.begin().await?;
        let mut fresh = Vec::new();
        let tasks = tally::of_tasks(&mut transaction, roots, &mut fresh).await?;
        let mut candidates = tally::of_candidates(&mut transaction, &mut fresh).await?;
        candidates.widen_to(most_spans);
        let totals = Totals {
            runs: run_costs(&mut transaction).await?,
            configs: configs(&mut transaction).await?,
            admitted: admitted(&mut transaction, &candidates).await?,
            held_out: held_out(&mut transaction).await?,
            rescued: rescued(&mut transaction).await?,
            tasks,
            candidates,
        };
        transaction.commit().await?;
        // Without it the next call counts again, which only costs time.
        if let Err(error) = self.save_tallies(&fresh).await {
            tracing::debug!(%error, "tallies were not saved");
        }
        Ok(totals)
    }
}

async fn run_costs(connection: &mut SqliteConnection) -> Result<Vec<RunCost>> {
    Ok(sqlx::query_as!(
        RunCost,
        r#"
        SELECT
            run_id AS "run_id!", command AS "command!", model, status AS "status!: crate::store::RunStatus",
            started_at AS "started_at!", ended_at, requests AS "requests!: i64", prompt_tokens AS "prompt_tokens!: i64",
            completion_tokens AS "completion_tokens!: i64", tasks AS "tasks!: i64"
        FROM run_cost
        ORDER BY run_id
        "#
    )
    .fetch_all(connection)
    .await?)
}

async fn held_out(connection: &mut SqliteConnection) -> Result<i64> {
    Ok(sqlx::query_scalar!(
        r#"
        SELECT count(*) AS "count!: i64"
        FROM held_out
        JOIN task ON task.id = held_out.task_id
        WHERE task.review <> 'rejected'
        "#
    )
    .fetch_one(connection)
    .await?)
}

/// Counts what was rescued. The history has a rescue as the import of a task that a model wrote; no
/// round admitted it, which leaves few to look up there.
async fn rescued(connection: &mut SqliteConnection) -> Result<i64> {
    Ok(sqlx::query_scalar!(
        r#"
        SELECT count(DISTINCT task.id) AS "count!: i64"
        FROM revision
        JOIN task ON task.id = revision.task_id
        WHERE revision.action = 'import'
            AND task.origin = 'machine'
            AND task.round IS NULL
            AND NOT EXISTS (SELECT 1 FROM withdrawn WHERE withdrawn.task_id = task.id)
        "#
    )
    .fetch_one(connection)
    .await?)
}

async fn configs(connection: &mut SqliteConnection) -> Result<BTreeMap<i64, String>> {
    let rows = sqlx::query!(
        r#"
        SELECT id AS "id!", config
        FROM run
        "#
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.config)).collect())
}

async fn admitted(
    connection: &mut SqliteConnection,
    candidates: &CandidateTally,
) -> Result<BTreeMap<i64, String>> {
    let spans: Vec<_> = candidates.rounds.keys().collect();
    let spans = json_rows(&spans);
    let rows = sqlx::query!(
        r#"
        SELECT
            span.value + 0 AS "span!: i64",
            (
                SELECT admitted_at FROM round WHERE round.round >= span.value << ? ORDER BY round.round LIMIT 1
            ) AS "admitted_at: String"
        FROM json_each(?) AS span
        "#,
        candidates.bits,
        spans
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| Some((row.span, row.admitted_at?)))
        .collect())
}
