//! Counts over all tables: the figures of `stats`, of the page's dashboard and of the report.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;

use super::tally::{self, CandidateTally, Roots, TaskTally};
use crate::store::rows::json_rows;
use crate::store::{Result, Store};

/// What a run cost.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RunCost {
    /// The run.
    pub run_id: i64,
    /// What it did.
    pub command: String,
    /// The model it asked.
    pub model: Option<String>,
    /// How far it got.
    pub status: crate::store::RunStatus,
    /// When it started, UTC.
    pub started_at: String,
    /// When it ended, UTC.
    pub ended_at: Option<String>,
    /// Model calls that were answered.
    pub requests: i64,
    /// Tokens of all prompts.
    pub prompt_tokens: i64,
    /// Tokens of all answers.
    pub completion_tokens: i64,
    /// Tasks it brought in.
    pub tasks: i64,
}

/// Everything that there is to count, all of one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Totals {
    /// Tasks and what is known of them.
    pub tasks: TaskTally,
    /// What was parsed out of responses.
    pub candidates: CandidateTally,
    /// What each run cost and brought, in order.
    pub runs: Vec<RunCost>,
    /// The configuration of each run, as JSON.
    pub configs: BTreeMap<i64, String>,
    /// When the first round of each span of `candidates` was admitted, or the one after it, UTC.
    pub admitted: BTreeMap<i64, String>,
}

impl Store {
    /// Counts; tells at most so many spans of rounds apart.
    pub async fn totals(&self, roots: Roots, most_spans: i64) -> Result<Totals> {
        // One transaction, so that what is added up belongs together.
        let mut transaction = self.pool.begin().await?;
        let mut fresh = Vec::new();
        let tasks = tally::of_tasks(&mut transaction, roots, &mut fresh).await?;
        let mut candidates = tally::of_candidates(&mut transaction, &mut fresh).await?;
        candidates.widen_to(most_spans);
        let totals = Totals {
            runs: run_costs(&mut transaction).await?,
            configs: configs(&mut transaction).await?,
            admitted: admitted(&mut transaction, &candidates).await?,
            tasks,
            candidates,
        };
        transaction.commit().await?;
        // Whoever asks next would count again: a loss of time only.
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
