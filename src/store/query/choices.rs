//! The choices of a filter in this dataset: its runs, and its reasons of rejections.

use crate::store::{Result, Store};

/// A run in the list of choices.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RunName {
    /// Its id.
    pub id: i64,
    /// Its command.
    pub command: String,
    /// The model it asked.
    pub model: Option<String>,
}

impl Store {
    /// Returns the latest runs that have added tasks, the last one first.
    pub async fn runs(&self, limit: i64) -> Result<Vec<RunName>> {
        Ok(sqlx::query_as!(
            RunName,
            "
            SELECT id, command, model
            FROM run
            WHERE EXISTS (SELECT 1 FROM task WHERE task.run_id = run.id)
            ORDER BY id DESC
            LIMIT ?
            ",
            limit
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Returns the reasons of all rejections of candidates.
    pub async fn reasons(&self) -> Result<Vec<String>> {
        // One index search per reason: there are many candidates and few reasons.
        Ok(sqlx::query_scalar!(
            r#"
            WITH RECURSIVE each (reason) AS (
                SELECT min(reason)
                FROM candidate
                WHERE verdict = 'rejected'
                UNION ALL
                SELECT (
                    SELECT min(candidate.reason)
                    FROM candidate
                    WHERE candidate.verdict = 'rejected' AND candidate.reason > each.reason
                )
                FROM each
                WHERE each.reason IS NOT NULL
            )
            SELECT reason AS "reason!: String"
            FROM each
            WHERE reason IS NOT NULL
            "#
        )
        .fetch_all(&self.pool)
        .await?)
    }
}
