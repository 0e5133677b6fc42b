//! Table `run`: which command worked on the dataset, how, and how it ended.

use std::str::FromStr;

use super::{Result, Store};

/// How far a run got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// At work, or ended without a word: killed, or out of power.
    Running,
    /// Ended as it should.
    Done,
    /// Ended with an error.
    Failed,
    /// Stopped by somebody, cleanly.
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
        Ok(run.last_insert_rowid())
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
        Ok(())
    }
}
