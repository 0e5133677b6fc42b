//! Edits: new texts for a task and its instances, recorded in table `revision`.

use sqlx::SqliteConnection;

use super::revision::{Actor, Change, check_version, next_group};
use super::turns::{self, NewTurn, TurnChanges, TurnEdit};
use crate::store::{Error, Result, Store};

/// New texts for a task; `None` leaves a text as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Edit {
    /// The new instruction.
    pub instruction: Option<String>,
    /// New texts of instances.
    pub instances: Vec<InstanceEdit>,
    /// The version that the editor saw; the edit of a task that has changed since is refused.
    pub version: Option<i64>,
    /// The action to continue: an earlier save of the same session. If somebody else has changed
    /// the task, or the action was undone, the edit is an action of its own.
    pub group: Option<i64>,
}

/// New texts for an instance; `None` leaves a text as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceEdit {
    /// The instance's place in the task: 0, 1, 2 …
    pub ordinal: i64,
    /// The new input.
    pub input: Option<String>,
    /// The new output.
    pub output: Option<String>,
    /// New texts of messages after the output.
    #[serde(default)]
    pub turns: Vec<TurnEdit>,
    /// Later questions that are removed, each with all that follows it up to the next one, by their
    /// places before the edit.
    #[serde(default)]
    pub removed: Vec<i64>,
    /// Turns that are added, in their order.
    #[serde(default)]
    pub added: Vec<NewTurn>,
}

impl Store {
    /// Changes texts of a task, as one action. Returns `None` if nothing differs.
    ///
    /// # Errors
    ///
    /// [`Error::NoTask`], [`Error::NoInstance`]; [`Error::ChangedMeanwhile`] if the task is of
    /// another version than the edit was made from; [`Error::EmptyTurn`] if a message of a
    /// conversation would say nothing.
    pub async fn edit(&self, task_id: i64, edit: &Edit, actor: Actor<'_>) -> Result<Option<Change>> {
        let mut transaction = self.act(actor.who).await?;
        let exists = sqlx::query_scalar!("SELECT id FROM task WHERE id = ?", task_id)
            .fetch_optional(&mut *transaction)
            .await?;
        if exists.is_none() {
            return Err(Error::NoTask { id: task_id });
        }
        if let Some(seen) = edit.version {
            check_version(&mut transaction, task_id, seen).await?;
        }
        let group = match edit.group {
            Some(group) if goes_on(&mut transaction, task_id, group, actor.who).await? => group,
            _ => next_group(&mut transaction).await?,
        };
        let silent = turns::silent(&mut transaction, task_id).await?;
        let mut revisions = 0;
        if let Some(instruction) = &edit.instruction {
            revisions += edit_instruction(&mut transaction, group, task_id, instruction, actor).await?;
        }
        for instance in &edit.instances {
            revisions += edit_instance(&mut transaction, group, task_id, instance, actor).await?;
        }
        if revisions == 0 {
            return Ok(None);
        }
        // What said nothing before may stay, so that each of several can be mended by itself.
        if turns::silent(&mut transaction, task_id).await? > silent {
            return Err(Error::EmptyTurn { id: task_id });
        }
        transaction.commit().await?;
        Ok(Some(Change {
            group,
            tasks: 1,
            undoes: None,
        }))
    }
}

/// Whether the last change of the task is this edit by this person.
async fn goes_on(connection: &mut SqliteConnection, task_id: i64, group: i64, who: &str) -> Result<bool> {
    let last = sqlx::query!(
        "
        SELECT group_id, who, action
        FROM revision
        WHERE task_id = ? AND (about IS NULL OR after ->> 'review' IS NOT NULL)
        ORDER BY id DESC
        LIMIT 1
        ",
        task_id
    )
    .fetch_optional(connection)
    .await?;
    Ok(last.is_some_and(|last| last.group_id == group && last.who == who && last.action == "edit"))
}

/// Returns the texts before the action, so far as the action has changed the task or this instance.
async fn before_group(
    connection: &mut SqliteConnection,
    group: i64,
    task_id: i64,
    instance_id: Option<i64>,
) -> Result<serde_json::Map<String, serde_json::Value>> {
    let before = sqlx::query_scalar!(
        "
        SELECT before
        FROM revision
        WHERE group_id = ?1 AND task_id = ?2 AND instance_id IS ?3
        ORDER BY id DESC
        LIMIT 1
        ",
        group,
        task_id,
        instance_id
    )
    .fetch_optional(connection)
    .await?;
    Ok(before
        .and_then(|before| serde_json::from_str(&before).ok())
        .unwrap_or_default())
}

/// Returns the number of revisions written: 1, or 0 if the instruction is the same.
async fn edit_instruction(
    connection: &mut SqliteConnection,
    group: i64,
    task_id: i64,
    instruction: &str,
    actor: Actor<'_>,
) -> Result<u64> {
    let before = before_group(connection, group, task_id, None).await?;
    let first = before.get("instruction").and_then(|text| text.as_str());
    let revisions = sqlx::query!(
        "
        INSERT INTO revision (group_id, task_id, who, action, before, after, note)
        SELECT
            ?1, id, ?2, 'edit', json_object('instruction', coalesce(?6, instruction)),
            json_object('instruction', ?3), ?4
        FROM task
        WHERE id = ?5 AND instruction <> ?3
        ",
        group,
        actor.who,
        instruction,
        actor.note,
        task_id,
        first
    )
    .execute(&mut *connection)
    .await?;
    if revisions.rows_affected() > 0 {
        sqlx::query!(
            "
            UPDATE task
            SET instruction = ?1, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
            WHERE id = ?2
            ",
            instruction,
            task_id
        )
        .execute(connection)
        .await?;
    }
    Ok(revisions.rows_affected())
}

/// Returns the number of revisions written: 1, or 0 if all texts are the same.
async fn edit_instance(
    connection: &mut SqliteConnection,
    group: i64,
    task_id: i64,
    edit: &InstanceEdit,
    actor: Actor<'_>,
) -> Result<u64> {
    let Some(old) = sqlx::query!(
        "
        SELECT id, input, output, turns
        FROM instance
        WHERE task_id = ? AND ordinal = ?
        ",
        task_id,
        edit.ordinal
    )
    .fetch_optional(&mut *connection)
    .await?
    else {
        return Err(Error::NoInstance {
            id: task_id,
            ordinal: edit.ordinal,
        });
    };
    let columns = before_group(connection, group, task_id, Some(old.id)).await?;
    let changes = TurnChanges {
        texts: &edit.turns,
        removed: &edit.removed,
        added: &edit.added,
    };
    let turns = turns::edited(connection, task_id, old.turns.as_deref(), changes).await?;
    let texts = [
        ("input", old.input.as_str(), edit.input.as_deref()),
        ("output", old.output.as_str(), edit.output.as_deref()),
        (
            "turns",
            old.turns.as_deref().unwrap_or_default(),
            turns.as_deref(),
        ),
    ];
    let Some((before, after)) = changed_columns(columns, texts) else {
        return Ok(0);
    };
    sqlx::query!(
        "
        INSERT INTO revision (group_id, task_id, instance_id, who, action, before, after, note)
        VALUES (?, ?, ?, ?, 'edit', ?, ?, ?)
        ",
        group,
        task_id,
        old.id,
        actor.who,
        before,
        after,
        actor.note
    )
    .execute(&mut *connection)
    .await?;
    set_texts(connection, task_id, old.id, edit, turns).await?;
    Ok(1)
}

/// Compares texts of an instance, each with its column, the old text and the new one. Returns the
/// changed columns before and after the action, as JSON objects, or `None` if nothing differs.
/// `before` has the columns that earlier saves of the session changed, as they were before it.
fn changed_columns(
    mut before: serde_json::Map<String, serde_json::Value>,
    texts: [(&str, &str, Option<&str>); 3],
) -> Option<(String, String)> {
    let mut after = serde_json::Map::new();
    let mut differs = false;
    for (column, old, new) in texts {
        let new = new.filter(|new| *new != old);
        differs |= new.is_some();
        // A column that an earlier save of the session changed is recorded again.
        if new.is_some() || before.contains_key(column) {
            before.entry(column).or_insert_with(|| old.into());
            after.insert(column.into(), new.unwrap_or(old).into());
        }
    }
    let json = |columns| serde_json::Value::Object(columns).to_string();
    differs.then(|| (json(before), json(after)))
}

/// Writes the new texts of an instance.
async fn set_texts(
    connection: &mut SqliteConnection,
    task_id: i64,
    instance_id: i64,
    edit: &InstanceEdit,
    turns: Option<String>,
) -> Result<()> {
    sqlx::query!(
        "
        UPDATE instance
        SET input = coalesce(?1, input),
            output = coalesce(?2, output),
            turns = CASE WHEN ?4 IS NULL THEN turns ELSE nullif(?4, '') END
        WHERE id = ?3
        ",
        edit.input,
        edit.output,
        instance_id,
        turns
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "
        UPDATE task
        SET updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
        WHERE id = ?
        ",
        task_id
    )
    .execute(connection)
    .await?;
    Ok(())
}
