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
    /// `import`, `rescue`, `accept`, `reject`, `edit`, `assignment`, `opinion`, `comment` or
    /// `undo`. A rescue is an import of a candidate.
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
    /// As [`Action::action`].
    pub action: String,
    /// The instance that changed; `None` if the task itself did.
    pub instance_id: Option<i64>,
    /// The field that changed, by its name today.
    pub field: Option<String>,
    /// The changed columns before, as a JSON object; empty where rows beside the task changed.
    pub before: String,
    /// The same columns after.
    pub after: String,
    /// Its reason.
    pub note: Option<String>,
    /// The group that it took back.
    pub undoes: Option<i64>,
}

impl Revision {
    /// Returns what was before and what came after, for people: the columns, or the values of the
    /// field with its name.
    pub fn sides(&self) -> (String, String) {
        let Some(field) = &self.field else {
            return (self.before.clone(), self.after.clone());
        };
        let side = |json: &str| {
            let list: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
            let values = list["values"].as_array().cloned().unwrap_or_default();
            let values: Vec<String> = values
                .iter()
                .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
                .collect();
            match values.is_empty() {
                true => format!("{field}: none"),
                false => format!("{field}: {}", values.join(", ")),
            }
        };
        (side(&self.before), side(&self.after))
    }
}

/// Somebody who acted a moment ago.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Presence {
    /// Who.
    pub who: String,
    /// What they did last; see [`Action::action`].
    pub action: String,
    /// How many tasks that changed.
    pub tasks: i64,
    /// The first of them.
    pub task: i64,
    /// How many seconds ago.
    pub seconds: i64,
}

/// Among so many of the latest revisions, people are looked for.
const LATEST: i64 = 20_000;

impl Store {
    /// Returns who else acted within the last `seconds`, each with their last action, the latest
    /// first. Statements of SQL are nobody's.
    pub async fn others(&self, who: &str, seconds: i64) -> Result<Vec<Presence>> {
        Ok(sqlx::query_as!(
            Presence,
            r#"
            SELECT
                last.who AS "who!", last.action AS "action!: String",
                (SELECT count(DISTINCT task_id) FROM revision WHERE group_id = last.id) AS "tasks!: i64",
                last.task_id AS "task!", last.seconds AS "seconds!: i64"
            FROM (
                SELECT
                    max(id) AS id, who, task_id,
                    iif(
                        action = 'import'
                            AND EXISTS (SELECT 1 FROM candidate WHERE candidate.task_id = revision.task_id),
                        'rescue',
                        iif(undoes IS NULL, coalesce(about, action), action)
                    ) AS action,
                    CAST(round((julianday('now') - julianday(at)) * 86400) AS INTEGER) AS seconds
                FROM revision
                WHERE id > (SELECT max(id) FROM revision) - ?1
                    AND id = group_id
                    AND who NOT IN (?2, 'sql')
                GROUP BY who
            ) AS last
            WHERE last.seconds <= ?3
            ORDER BY last.id DESC
            LIMIT 20
            "#,
            LATEST,
            who,
            seconds
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Returns the latest actions, the last one first.
    pub async fn actions(&self, limit: i64) -> Result<Vec<Action>> {
        let actions = sqlx::query_as!(
            Action,
            r#"
            SELECT
                first.group_id AS "group!: i64", first.at, first.who,
                iif(
                    first.action = 'import'
                        AND EXISTS (SELECT 1 FROM candidate WHERE candidate.task_id = first.task_id),
                    'rescue',
                    iif(first.undoes IS NULL, coalesce(first.about, first.action), 'undo')
                ) AS "action!: String",
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

    /// Returns who changed a task last.
    pub async fn changed_by(&self, task_id: i64) -> Result<Option<String>> {
        let who = sqlx::query_scalar!(
            "
            SELECT who
            FROM revision
            WHERE task_id = ? AND (about IS NULL OR after ->> 'review' IS NOT NULL)
            ORDER BY id DESC
            LIMIT 1
            ",
            task_id
        );
        Ok(who.fetch_optional(&self.pool).await?)
    }

    /// Returns every change of one task, in order.
    pub async fn history(&self, task_id: i64) -> Result<Vec<Revision>> {
        let history = sqlx::query_as!(
            Revision,
            r#"
            SELECT
                group_id AS "group!: i64", at, who,
                iif(
                    action = 'import' AND EXISTS (SELECT 1 FROM candidate WHERE candidate.task_id = revision.task_id),
                    'rescue',
                    iif(undoes IS NULL AND after ->> 'review' IS NULL, coalesce(about, action), action)
                ) AS "action!: String",
                instance_id, field.name AS "field?",
                iif(about IS NULL, before, json_remove(before, '$.' || about)) AS "before!: String",
                iif(about IS NULL, after, json_remove(after, '$.' || about)) AS "after!: String", note, undoes
            FROM revision
            LEFT JOIN field ON field.id = revision.field_id
            WHERE task_id = ?
            ORDER BY revision.id
            "#,
            task_id
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(history)
    }
}
