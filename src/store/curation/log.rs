//! The history in table `revision`: the latest actions, and all changes of one task.

use crate::store::{Result, Store};

/// An action: a group of revisions.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Action {
    /// Its number, for `undo`.
    pub group: i64,
    /// When, in UTC.
    pub at: String,
    /// Who did it.
    pub who: String,
    /// `accept`, `reject`, `edit` or `undo`.
    pub action: String,
    /// How many tasks it changed.
    pub tasks: i64,
    /// The first of them.
    pub first_task: i64,
    /// Its reason. If its tasks have reasons of their own, their first words and how often each
    /// occurs, the most frequent first: `near_duplicate (371), too_long (13)`.
    pub note: Option<String>,
    /// The group that it took back.
    pub undoes: Option<i64>,
    /// Whether it was taken back itself.
    pub undone: bool,
}

/// One change of a task or of one of its instances.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Revision {
    /// The action that it is part of.
    pub group: i64,
    /// When, in UTC.
    pub at: String,
    /// Who did it.
    pub who: String,
    /// `accept`, `reject`, `edit` or `undo`.
    pub action: String,
    /// The instance that changed; `None` if the task itself did.
    pub instance_id: Option<i64>,
    /// The changed columns before, as a JSON object.
    pub before: String,
    /// The same columns after.
    pub after: String,
    /// Its reason.
    pub note: Option<String>,
    /// The group that it took back.
    pub undoes: Option<i64>,
}

impl Store {
    /// Returns the latest actions, the last one first.
    pub async fn actions(&self, limit: i64) -> Result<Vec<Action>> {
        let actions = sqlx::query_as!(
            Action,
            r#"
            SELECT
                first.group_id AS "group!: i64", first.at, first.who, first.action,
                (SELECT count(DISTINCT task_id) FROM revision WHERE group_id = first.id) AS "tasks!: i64",
                first.task_id AS first_task,
                CASE
                    WHEN NOT EXISTS (
                        SELECT 1 FROM revision AS other WHERE other.group_id = first.id AND other.note IS NOT first.note
                    )
                    THEN first.note
                    ELSE (
                        SELECT group_concat(reason || ' (' || tasks || ')', ', ')
                        FROM (
                            SELECT
                                coalesce(rtrim(substr(note, 1, instr(note || ' ', ' ') - 1), ':'), 'no reason') AS reason,
                                count(DISTINCT task_id) AS tasks
                            FROM revision AS other
                            WHERE other.group_id = first.id
                            GROUP BY 1
                            ORDER BY 2 DESC, 1
                        )
                    )
                END AS "note: String",
                first.undoes,
                EXISTS (
                    SELECT 1
                    FROM revision AS taken
                    WHERE taken.undoes = first.id
                        AND NOT EXISTS (SELECT 1 FROM revision AS redone WHERE redone.undoes = taken.group_id)
                ) AS "undone!: bool"
            FROM revision AS first
            WHERE first.id = first.group_id
            ORDER BY first.id DESC
            LIMIT ?
            "#,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(actions)
    }

    /// Returns every change of one task, in order.
    pub async fn history(&self, task_id: i64) -> Result<Vec<Revision>> {
        let history = sqlx::query_as!(
            Revision,
            r#"
            SELECT group_id AS "group!: i64", at, who, action, instance_id, before, after, note, undoes
            FROM revision
            WHERE task_id = ?
            ORDER BY id
            "#,
            task_id
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(history)
    }
}
