//! Table `run`: which commands worked on the dataset, their settings, and how they ended.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::{Connection, SqliteConnection};

use crate::leave;
use crate::store::file::open::options;
use crate::store::rows::json_rows;
use crate::store::{Result, Store};

/// How long the process that cleans up after another waits for other writers.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// The status of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// At work; or killed, and nobody has taken its lock since.
    Running,
    /// Ended as it should.
    Done,
    /// Ended with an error.
    Failed,
    /// Stopped by somebody, or cut off. If nobody knows when, it has no end.
    Interrupted,
}

impl RunStatus {
    /// Returns the word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            RunStatus::Running => "running",
            RunStatus::Done => "done",
            RunStatus::Failed => "failed",
            RunStatus::Interrupted => "interrupted",
        }
    }
}

impl FromStr for RunStatus {
    type Err = String;

    fn from_str(word: &str) -> std::result::Result<Self, String> {
        [
            RunStatus::Running,
            RunStatus::Done,
            RunStatus::Failed,
            RunStatus::Interrupted,
        ]
        .into_iter()
        .find(|status| status.as_str() == word)
        .ok_or_else(|| format!("unknown status of a run `{word}`"))
    }
}

impl Store {
    /// Records the start of `command`, such as `generate`, with its configuration. Returns the
    /// run's id.
    pub async fn begin_run(
        &self,
        command: &str,
        config: &serde_json::Value,
        seed: Option<i64>,
        model: Option<&str>,
    ) -> Result<i64> {
        let config = config.to_string();
        let mut transaction = self.write().await?;
        let run = sqlx::query!(
            "
            INSERT INTO run (command, config, seed, model)
            VALUES (?, ?, ?, ?)
            ",
            command,
            config,
            seed,
            model
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        let run_id = run.last_insert_rowid();
        leave::begun(&self.path, run_id);
        Ok(run_id)
    }

    /// Returns the runs of a command, latest first: id, configuration, model.
    pub async fn runs_of(&self, command: &str) -> Result<Vec<(i64, serde_json::Value, Option<String>)>> {
        let runs = sqlx::query!(
            r#"
            SELECT id AS "id!", config, model
            FROM run
            WHERE command = ?
            ORDER BY id DESC
            "#,
            command
        )
        .fetch_all(&self.pool)
        .await?;
        let config = |text: &str| serde_json::from_str(text).unwrap_or_default();
        Ok(runs
            .into_iter()
            .map(|run| (run.id, config(&run.config), run.model))
            .collect())
    }

    /// Returns whether a run got answers to requests of its own.
    pub async fn has_asked(&self, run_id: i64) -> Result<bool> {
        let found = sqlx::query_scalar!(
            r#"
            SELECT EXISTS (SELECT 1 FROM request WHERE run_id = ?) AS "found!: bool"
            "#,
            run_id
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(found)
    }

    /// Records how and when a run ended.
    pub async fn finish_run(&self, run_id: i64, status: RunStatus) -> Result<()> {
        let mut transaction = self.write().await?;
        sqlx::query!(
            "
            UPDATE run
            SET status = ?, ended_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
            WHERE id = ?
            ",
            status,
            run_id
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        leave::ended(&self.path, run_id);
        Ok(())
    }

    /// Records runs of a command that seem to go on as interrupted; the caller knows that they do
    /// not. With `out`, only those that wrote there.
    pub async fn note_killed(&self, command: &str, out: Option<&str>) -> Result<()> {
        let mut transaction = self.write().await?;
        sqlx::query!(
            "
            UPDATE run
            SET status = 'interrupted'
            WHERE command = ?1 AND status = 'running' AND (?2 IS NULL OR config ->> 'out' = ?2)
            ",
            command,
            out
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Cleans up after a process that ended at once: records these of its runs as interrupted just
    /// now, and moves the write-ahead log into the file.
    pub async fn put_in_order(path: &Path, runs: &[i64]) -> Result<()> {
        let mut connection =
            SqliteConnection::connect_with(&options(path).busy_timeout(LAST_PATIENCE)).await?;
        let noted = note_interrupted(&mut connection, runs).await;
        // What could not be recorded now, the next run of its kind records.
        connection.close().await?;
        noted
    }
}

async fn note_interrupted(connection: &mut SqliteConnection, runs: &[i64]) -> Result<()> {
    // Closing moves the log into the file only if the connection has read something.
    sqlx::query!("SELECT count(*) AS count FROM run")
        .fetch_one(&mut *connection)
        .await?;
    if runs.is_empty() {
        return Ok(());
    }
    let runs = json_rows(runs);
    sqlx::query!(
        "
        UPDATE run
        SET status = 'interrupted', ended_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
        WHERE id IN (SELECT value FROM json_each(?)) AND status = 'running'
        ",
        runs
    )
    .execute(connection)
    .await?;
    Ok(())
}
