//! Table `revision`, edits: new texts for a task and its instances.

use sqlx::SqliteConnection;

use super::{
    Error, Result, Store,
    revision::{Actor, Change, next_group, version},
};

/// New texts for a task; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Edit {
    /// The new instruction.
    pub instruction: Option<String>,
    /// New texts of instances.
    pub instances: Vec<InstanceEdit>,
    /// The version that the editor saw; an edit of a task changed since is refused.
    pub version: Option<i64>,
}

/// New texts for an instance; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceEdit {
    /// Which instance of the task: 0, 1, 2 …
    pub ordinal: i64,
    /// The new input.
    pub input: Option<String>,
    /// The new output.
    pub output: Option<String>,
}

impl Store {
    /// Changes texts of a task, as one action. Where nothing differs, nothing happens and there is no change.
    ///
    /// # Errors
    ///
    /// [`Error::NoTask`], [`Error::NoInstance`]; [`Error::ChangedMeanwhile`] when the task is not of the version that
    /// the edit was made from.
    pub async fn edit(&self, task_id: i64, edit: &Edit, actor: Actor<'_>) -> Result<Option<Change>> {
        let mut transaction = self.act(actor.who).await?;
        let exists = sqlx::query_scalar!("SELECT id FROM task WHERE id = ?", task_id)
            .fetch_optional(&mut *transaction)
            .await?;
        if exists.is_none() {
            return Err(Error::NoTask { id: task_id });
        }
        if let Some(seen) = edit.version {
            let now = version(&mut transaction, task_id).await?;
            if now != seen {
                return Err(Error::ChangedMeanwhile {
                    id: task_id,
                    seen,
                    now,
                });
            }
        }
        let group = next_group(&mut transaction).await?;
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
        transaction.commit().await?;
        Ok(Some(Change {
            group,
            tasks: 1,
            undoes: None,
        }))
    }
}

/// Returns how many revisions that took: 1, or 0 where the instruction is the same.
async fn edit_instruction(
    connection: &mut SqliteConnection,
    group: i64,
    task_id: i64,
    instruction: &str,
    actor: Actor<'_>,
) -> Result<u64> {
    let revisions = sqlx::query!(
        "
        INSERT INTO revision (group_id, task_id, who, action, before, after, note)
        SELECT ?1, id, ?2, 'edit', json_object('instruction', instruction), json_object('instruction', ?3), ?4
        FROM task
        WHERE id = ?5 AND instruction <> ?3
        ",
        group,
        actor.who,
        instruction,
        actor.note,
        task_id
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

/// Returns how many revisions that took: 1, or 0 where input and output are the same.
async fn edit_instance(
    connection: &mut SqliteConnection,
    group: i64,
    task_id: i64,
    edit: &InstanceEdit,
    actor: Actor<'_>,
) -> Result<u64> {
    let Some(old) = sqlx::query!(
        "
        SELECT id, input, output
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
    let (mut before, mut after) = (serde_json::Map::new(), serde_json::Map::new());
    for (column, old, new) in [
        ("input", &old.input, &edit.input),
        ("output", &old.output, &edit.output),
    ] {
        if let Some(new) = new.as_ref().filter(|new| *new != old) {
            before.insert(column.into(), old.as_str().into());
            after.insert(column.into(), new.as_str().into());
        }
    }
    if after.is_empty() {
        return Ok(0);
    }
    let (before, after) = (
        serde_json::Value::from(before).to_string(),
        serde_json::Value::from(after).to_string(),
    );
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
    sqlx::query!(
        "
        UPDATE instance
        SET input = coalesce(?1, input), output = coalesce(?2, output)
        WHERE id = ?3
        ",
        edit.input,
        edit.output,
        old.id
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
    Ok(1)
}
