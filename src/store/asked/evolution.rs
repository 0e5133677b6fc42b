//! Table `evolution`: rounds that made a task of another.

use crate::store::{Result, Store};
use sqlx::SqliteConnection;

/// What a round rewrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewEvolution {
    /// The task.
    pub parent_task_id: i64,
    /// How.
    pub operator: &'static str,
}

impl NewEvolution {
    /// Adds the row within the caller's transaction; the round must be there.
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

/// The task that another was made of.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Evolution {
    /// Its id.
    pub parent_task_id: i64,
    /// Its instruction, as it is now.
    pub parent: String,
    /// How it was rewritten: `add_constraints`, `deepen`, `concretise`, `increase_reasoning`, `complicate_input` or
    /// `in_breadth`.
    pub operator: String,
}

impl Store {
    /// What a task was made of; none for one that was not made of another.
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
