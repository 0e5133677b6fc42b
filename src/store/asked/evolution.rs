//! Table `evolution`: rounds that made a task of another one: they rewrote it, or continued it as a
//! conversation.

use crate::store::{Result, Store};
use crate::task::{Instance, Opening};
use sqlx::SqliteConnection;

/// The task that a round rewrote or continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewEvolution {
    /// The id of the task.
    pub parent_task_id: i64,
    /// How: see [`Evolution::operator`].
    pub operator: &'static str,
}

/// The operator of rounds that continue a task.
const CONTINUE: &str = "continue";

impl NewEvolution {
    /// A round that continues a task as a conversation.
    pub fn continuation(parent_task_id: i64) -> NewEvolution {
        NewEvolution {
            parent_task_id,
            operator: CONTINUE,
        }
    }

    /// Whether the round continues a task.
    pub fn is_continuation(&self) -> bool {
        self.operator == CONTINUE
    }

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

/// The task that another one was made of.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Evolution {
    /// The id of the parent.
    pub parent_task_id: i64,
    /// The current instruction of the parent.
    pub parent: String,
    /// How: `add_constraints`, `deepen`, `concretise`, `increase_reasoning`, `complicate_input` or
    /// `in_breadth` of a task that was rewritten; `continue` of one that continues its parent.
    pub operator: String,
}

impl Evolution {
    /// Whether the task continues its parent as a conversation.
    pub fn is_continuation(&self) -> bool {
        self.operator == CONTINUE
    }
}

/// A task of one turn that may be continued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SingleTurn {
    /// Its instruction.
    pub instruction: String,
    /// Whether its output is one of a few labels.
    pub is_classification: bool,
    /// Its system message and its first instance.
    pub opening: Opening,
}

impl Store {
    /// Returns the tasks that earlier rounds continued, with these rounds, in their order.
    pub async fn continued(&self) -> Result<Vec<(u64, i64)>> {
        let rows = sqlx::query!(
            r#"
            SELECT round AS "round!: i64", parent_task_id
            FROM evolution
            WHERE operator = 'continue'
            ORDER BY round
            "#
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| (row.round as u64, row.parent_task_id))
            .collect())
    }

    /// Returns the tasks that cannot be continued: their first instance is a conversation already,
    /// or there is no answer, or only calls of tools.
    pub async fn not_to_continue(&self) -> Result<Vec<i64>> {
        Ok(sqlx::query_scalar!(
            r#"
            SELECT task.id AS "id!: i64"
            FROM task
            LEFT JOIN instance ON instance.task_id = task.id AND instance.ordinal = 0
            WHERE instance.id IS NULL
                OR instance.turns IS NOT NULL
                OR trim(instance.output, ' ' || char(9, 10, 13)) = ''
            "#
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Returns a task with its first instance; `None` if it has none.
    pub async fn single_turn(&self, task_id: i64) -> Result<Option<SingleTurn>> {
        let row = sqlx::query!(
            r#"
            SELECT
                task.system, task.instruction, task.is_classification AS "is_classification: bool", instance.input,
                instance.output
            FROM task
            JOIN instance ON instance.task_id = task.id AND instance.ordinal = 0
            WHERE task.id = ?
            "#,
            task_id
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| SingleTurn {
            instruction: row.instruction,
            is_classification: row.is_classification,
            opening: Opening {
                system: row.system,
                first: Instance {
                    input: row.input,
                    output: row.output,
                },
            },
        }))
    }

    /// The parent of a task; `None` for a task that was not made of another one.
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
