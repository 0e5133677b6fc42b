//! Table `run`: which command worked on the dataset, how, and how it ended.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::{Connection, SqliteConnection};

use crate::leave;
use crate::store::file::open::options;
use crate::store::rows::json_rows;
use crate::store::{Result, Store};

/// How long who ends waits for others who write.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// How far a run got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// At work, or ended without a word, killed or out of power, and nobody has taken its lock
    /// since.
    Running,
    /// Ended as it should.
    Done,
    /// Ended with an error.
    Failed,
    /// Stopped by somebody, or cut off; where nobody knows when, it has no end.
    Interrupted,
}

impl RunStatus {
    /// The word in the database.
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
    /// Notes that `command` (such as `generate`) starts with this configuration; returns the run's id.
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

    /// What runs of a command were told, the latest first: id, configuration, model.
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

    /// Notes how a run ended, and when.
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

    /// Notes that runs of a command which seem to go on were interrupted: whoever calls this knows
    /// that they do not. With `out`, only those that wrote there.
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

    /// Does for a process that ended at once what it left undone: notes that these of its runs were
    /// interrupted just now, and puts what is in the write-ahead log into the file.
    pub async fn put_in_order(path: &Path, runs: &[i64]) -> Result<()> {
        let mut connection =
            SqliteConnection::connect_with(&options(path).busy_timeout(LAST_PATIENCE)).await?;
        let noted = note_interrupted(&mut connection, runs).await;
        // What could not be noted now, the next run of its kind notes.
        connection.close().await?;
        noted
    }
}

async fn note_interrupted(connection: &mut SqliteConnection, runs: &[i64]) -> Result<()> {
    // To close a dataset is to close its log, which who has read nothing has not opened.
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
