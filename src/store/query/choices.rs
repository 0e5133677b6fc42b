//! What a filter can be set to in this dataset: its runs, and the reasons for which something was turned away.

use crate::store::{Result, Store};

/// A run, as a list of them shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RunName {
    /// Its id.
    pub id: i64,
    /// What it did.
    pub command: String,
    /// The model it asked.
    pub model: Option<String>,
}

impl Store {
    /// The latest runs that can have brought in tasks, the last one first.
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

    /// The reasons for which candidates were rejected.
    pub async fn reasons(&self) -> Result<Vec<String>> {
        // One search in the index for each reason: there are many candidates and few reasons.
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
