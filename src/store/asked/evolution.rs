//! Table `evolution`: rounds that rewrote a task.

use crate::store::{Result, Store};
use sqlx::SqliteConnection;

/// The task that a round rewrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewEvolution {
    /// The id of the task.
    pub parent_task_id: i64,
    /// The kind of rewrite: see [`Evolution::operator`].
    pub operator: &'static str,
}

impl NewEvolution {
    /// Inserts the row within the caller's transaction, after the row of the round.
    pub(in crate::store) async fn insert(&self, connection: &mut SqliteConnection, round: i64) -> Result<()> {
        sqlx::query!(
            "
            INSERT INTO evolution (round, parent_task_id, operator)
            VALUES (?, ?, ?)
            ",
            round,
            self.parent_task_id,
            self.operator
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// The task that another one was rewritten from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Evolution {
    /// The id of the parent.
    pub parent_task_id: i64,
    /// The current instruction of the parent.
    pub parent: String,
    /// The kind of rewrite: `add_constraints`, `deepen`, `concretise`, `increase_reasoning`,
    /// `complicate_input` or `in_breadth`.
    pub operator: String,
}

impl Store {
    /// The parent of a task; `None` for a task that was not rewritten from another one.
    pub async fn evolution(&self, task_id: i64) -> Result<Option<Evolution>> {
        Ok(sqlx::query_as!(
            Evolution,
            "
            SELECT evolution.parent_task_id, parent.instruction AS parent, evolution.operator
            FROM task
            JOIN evolution ON evolution.round = task.round
            JOIN task AS parent ON parent.id = evolution.parent_task_id
            WHERE task.id = ?
            ",
            task_id
        )
        .fetch_optional(&self.pool)
        .await?)
    }
}
