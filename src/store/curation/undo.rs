//! Undo and redo. `revision.rs` defines which actions are in force.

use sqlx::SqliteConnection;

use super::revision::{Actor, Change};
use crate::store::fields::assign;
use crate::store::rows::json_rows;
use crate::store::{Error, Result, Store, teams};

/// A group to take back.
struct UndoTarget {
    group: i64,
    undoes: Option<i64>,
}

impl Store {
    /// Takes back the latest action in force; called again, the one before it.
    ///
    /// # Errors
    ///
    /// [`Error::NothingToUndo`]; [`Error::ChangedSince`] if the rows were changed outside ewe's
    /// history.
    pub async fn undo(&self, actor: Actor<'_>) -> Result<Change> {
        let mut transaction = self.act(actor.who).await?;
        let latest = sqlx::query_scalar!(
            r#"
            SELECT action.id AS "id!: i64"
            FROM revision AS action
            WHERE action.id = action.group_id
                AND action.undoes IS NULL
                AND NOT EXISTS (
                    SELECT 1
                    FROM revision AS taken
                    WHERE taken.undoes = action.id
                        AND NOT EXISTS (SELECT 1 FROM revision AS redone WHERE redone.undoes = taken.group_id)
                )
            ORDER BY action.id DESC
            LIMIT 1
            "#
        )
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(group) = latest else {
            return Err(Error::NothingToUndo);
        };
        let change = take_back(&mut transaction, group, actor).await?;
        transaction.commit().await?;
        Ok(change)
    }

    /// Takes back the latest undo in force, unless another action came after it.
    ///
    /// # Errors
    ///
    /// [`Error::NothingToRedo`]; [`Error::ChangedSince`] if the rows were changed outside ewe's
    /// history.
    pub async fn redo(&self, actor: Actor<'_>) -> Result<Change> {
        let mut transaction = self.act(actor.who).await?;
        // An undo takes back an action; a redo takes back an undo.
        let latest = sqlx::query_scalar!(
            r#"
            SELECT taken.id AS "id!: i64"
            FROM revision AS taken
            JOIN revision AS action ON action.id = taken.undoes AND action.undoes IS NULL
            WHERE taken.id = taken.group_id
                AND NOT EXISTS (SELECT 1 FROM revision AS redone WHERE redone.undoes = taken.id)
                AND NOT EXISTS (SELECT 1 FROM revision AS later WHERE later.id > taken.id AND later.undoes IS NULL)
            ORDER BY taken.id DESC
            LIMIT 1
            "#
        )
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(group) = latest else {
            return Err(Error::NothingToRedo);
        };
        let change = take_back(&mut transaction, group, actor).await?;
        transaction.commit().await?;
        Ok(change)
    }

    /// Takes back one group, wherever it is in the history: an action, an undo, or a redo, which
    /// stands for the action that it restored.
    ///
    /// # Errors
    ///
    /// [`Error::NoGroup`]; [`Error::UndoneAlready`]; [`Error::ChangedSince`] if a later change
    /// touched the same texts.
    pub async fn undo_group(&self, group: i64, actor: Actor<'_>) -> Result<Change> {
        let mut transaction = self.act(actor.who).await?;
        let mut target = find(&mut transaction, group)
            .await?
            .ok_or(Error::NoGroup { group })?;
        if let Some(taken) = target.undoes
            && let Some(taken) = find(&mut transaction, taken).await?
            && let Some(action) = taken.undoes
        {
            target = UndoTarget {
                group: action,
                undoes: None,
            };
        }
        let undone = sqlx::query_scalar!(
            r#"
            SELECT min(taken.group_id) AS "by: i64"
            FROM revision AS taken
            WHERE taken.undoes = ?1
                AND NOT EXISTS (SELECT 1 FROM revision AS redone WHERE redone.undoes = taken.group_id)
            "#,
            target.group
        )
        .fetch_one(&mut *transaction)
        .await?;
        if let Some(by) = undone {
            return Err(Error::UndoneAlready {
                group: target.group,
                by,
            });
        }
        let change = take_back(&mut transaction, target.group, actor).await?;
        transaction.commit().await?;
        Ok(change)
    }
}

async fn find(connection: &mut SqliteConnection, group: i64) -> Result<Option<UndoTarget>> {
    let target = sqlx::query_as!(
        UndoTarget,
        r#"
        SELECT group_id AS "group!: i64", undoes
        FROM revision
        WHERE id = ?1 AND group_id = ?1
        "#,
        group
    )
    .fetch_optional(connection)
    .await?;
    Ok(target)
}

/// Returns the rows of a group that a later row of it replaces, as a JSON array: earlier saves of
/// an editing session.
async fn replaced(connection: &mut SqliteConnection, group: i64) -> Result<String> {
    let ids = sqlx::query_scalar!(
        "
        SELECT revision.id
        FROM revision
        WHERE revision.group_id = ?
            AND revision.after ->> 'review' IS NULL
            AND EXISTS (
                SELECT 1
                FROM revision AS later
                WHERE later.group_id = revision.group_id
                    AND later.task_id = revision.task_id
                    AND later.instance_id IS revision.instance_id
                    AND later.field_id IS revision.field_id
                    AND later.id > revision.id
            )
        ",
        group
    )
    .fetch_all(connection)
    .await?;
    Ok(json_rows(&ids))
}

/// Puts every row of the group back to what it was before, and records that as a new group.
async fn take_back(connection: &mut SqliteConnection, group: i64, actor: Actor<'_>) -> Result<Change> {
    let replaced = replaced(connection, group).await?;
    check_unchanged(connection, group, &replaced).await?;
    teams::check_unchanged(connection, group).await?;
    assign::check_choices(connection, group).await?;
    restore_reviews(connection, group).await?;
    restore_names(connection, group).await?;
    restore_instructions(connection, group, &replaced).await?;
    restore_instances(connection, group, &replaced).await?;
    assign::restore(connection, group).await?;
    teams::restore(connection, group).await?;
    set_updated(connection, group).await?;
    record_undo(connection, group, &replaced, actor).await
}

/// Fails if a row differs from what the group made of it.
async fn check_unchanged(connection: &mut SqliteConnection, group: i64, replaced: &str) -> Result<()> {
    let changed_since = sqlx::query_scalar!(
        r#"
        SELECT revision.task_id AS "task_id!: i64"
        FROM revision
        JOIN task ON task.id = revision.task_id
        LEFT JOIN instance ON instance.id = revision.instance_id
        WHERE revision.group_id = ?1
            AND revision.id NOT IN (SELECT value FROM json_each(?2))
            AND (
                coalesce(revision.after ->> 'review', task.review) <> task.review
                OR coalesce(revision.after ->> 'instruction', task.instruction) <> task.instruction
                OR coalesce(revision.after ->> 'is_classification', task.is_classification) <> task.is_classification
                OR (json_type(revision.after, '$.name') IS NOT NULL AND revision.after ->> 'name' IS NOT task.name)
                OR coalesce(revision.after ->> 'input', instance.input) <> instance.input
                OR coalesce(revision.after ->> 'output', instance.output) <> instance.output
                OR (
                    json_type(revision.after, '$.turns') IS NOT NULL
                    AND coalesce(revision.after ->> 'turns', '') <> coalesce(instance.turns, '')
                )
                OR (
                    revision.field_id IS NOT NULL
                    AND revision.after -> '$.values' <> (
                        SELECT json_group_array(value)
                        FROM (
                            SELECT value
                            FROM field_value
                            WHERE field_id = revision.field_id AND task_id = revision.task_id
                            ORDER BY value
                        )
                    )
                )
            )
        ORDER BY revision.id
        LIMIT 1
        "#,
        group,
        replaced
    )
    .fetch_optional(connection)
    .await?;
    match changed_since {
        Some(id) => Err(Error::ChangedSince { group, id }),
        None => Ok(()),
    }
}

/// Restores reviews. Columns are restored by several statements, since setting an instruction, even
/// to the same text, is work for the full-text index.
async fn restore_reviews(connection: &mut SqliteConnection, group: i64) -> Result<()> {
    sqlx::query!(
        "
        UPDATE task
        SET review = revision.before ->> 'review'
        FROM revision
        WHERE revision.group_id = ? AND revision.task_id = task.id AND revision.before ->> 'review' IS NOT NULL
        ",
        group
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Restores names and classifications, which only changes by SQL touch. A name may be null, so that
/// its value does not tell whether it was recorded.
async fn restore_names(connection: &mut SqliteConnection, group: i64) -> Result<()> {
    sqlx::query!(
        "
        UPDATE task
        SET is_classification = coalesce(revision.before ->> 'is_classification', task.is_classification),
            name = iif(json_type(revision.before, '$.name') IS NULL, task.name, revision.before ->> 'name')
        FROM revision
        WHERE revision.group_id = ?
            AND revision.task_id = task.id
            AND (
                revision.before ->> 'is_classification' IS NOT NULL
                OR json_type(revision.before, '$.name') IS NOT NULL
            )
        ",
        group
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn restore_instructions(connection: &mut SqliteConnection, group: i64, replaced: &str) -> Result<()> {
    sqlx::query!(
        "
        UPDATE task
        SET instruction = revision.before ->> 'instruction'
        FROM revision
        WHERE revision.group_id = ?1
            AND revision.id NOT IN (SELECT value FROM json_each(?2))
            AND revision.task_id = task.id
            AND revision.before ->> 'instruction' IS NOT NULL
        ",
        group,
        replaced
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn restore_instances(connection: &mut SqliteConnection, group: i64, replaced: &str) -> Result<()> {
    sqlx::query!(
        "
        UPDATE instance
        SET input = coalesce(revision.before ->> 'input', instance.input),
            output = coalesce(revision.before ->> 'output', instance.output),
            turns = CASE
                WHEN json_type(revision.before, '$.turns') IS NULL THEN instance.turns
                ELSE nullif(revision.before ->> 'turns', '')
            END
        FROM revision
        WHERE revision.group_id = ?1
            AND revision.id NOT IN (SELECT value FROM json_each(?2))
            AND revision.instance_id = instance.id
        ",
        group,
        replaced
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn set_updated(connection: &mut SqliteConnection, group: i64) -> Result<()> {
    sqlx::query!(
        "
        UPDATE task
        SET updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
        WHERE id IN (SELECT task_id FROM revision WHERE group_id = ?)
        ",
        group
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Records the undo as a new group, and returns it.
async fn record_undo(
    connection: &mut SqliteConnection,
    group: i64,
    replaced: &str,
    actor: Actor<'_>,
) -> Result<Change> {
    // The first row of the statement takes the next id, which names the new group.
    sqlx::query!(
        "
        INSERT INTO revision (
            group_id, task_id, instance_id, field_id, about, who, action, before, after, note, undoes
        )
        SELECT
            (SELECT max(id) + 1 FROM revision), task_id, instance_id, field_id, about, ?1, 'undo', after, before, ?2,
            group_id
        FROM revision
        WHERE group_id = ?3 AND id NOT IN (SELECT value FROM json_each(?4))
        ORDER BY id
        ",
        actor.who,
        actor.note,
        group,
        replaced
    )
    .execute(&mut *connection)
    .await?;
    let change = sqlx::query!(
        r#"
        SELECT group_id AS "group!: i64", count(DISTINCT task_id) AS "tasks!: i64"
        FROM revision
        WHERE group_id = (SELECT max(group_id) FROM revision)
        GROUP BY group_id
        "#
    )
    .fetch_one(connection)
    .await?;
    Ok(Change {
        group: change.group,
        tasks: change.tasks,
        undoes: Some(group),
    })
}
