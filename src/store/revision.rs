//! Table `revision`: every review and edit, so that each can be looked at and taken back.
//!
//! An action is a group of revisions, one for each task or instance that changed, named by the id of the first. An
//! undo is a group that takes another one back; a redo is an undo of an undo. A group is in force unless an undo that
//! is itself in force takes it back. Redos are not taken back: to undo one is to undo the action it restored, so chains
//! are never deeper than that.
//!
//! An editing session that saves as it goes is one group, too. Each save adds rows whose `before` is the text from before
//! the session, so that the last row of a group for a task or an instance says all that the group did to it.

use sqlx::SqliteConnection;

use super::{Error, Filter, Result, Store, acting::Action, filter::Sql, list};
use crate::task::Review;

/// Who acts, and why.
#[derive(Debug, Clone, Copy)]
pub struct Actor<'a> {
    /// A name for the history.
    pub who: &'a str,
    /// The reason, in the actor's words.
    pub note: Option<&'a str>,
}

/// What an action did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// The new group.
    pub group: i64,
    /// How many tasks changed.
    pub tasks: i64,
    /// The group that was taken back, for an undo or a redo.
    pub undoes: Option<i64>,
}

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
    /// The action that this edit goes on with: an earlier save of the same session. Once somebody else has touched the
    /// task, or the action was taken back, the edit is an action of its own.
    pub group: Option<i64>,
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

/// Starts a group: the id that its first revision is going to have. The caller holds the write lock.
async fn next_group(connection: &mut SqliteConnection) -> Result<i64> {
    let next = sqlx::query_scalar!(
        r#"
        SELECT coalesce(max(id), 0) + 1 AS "next!: i64"
        FROM revision
        "#
    )
    .fetch_one(connection)
    .await?;
    Ok(next)
}

/// What a review is called in the history. Nobody reviews a task as pending.
fn action(review: Review) -> Result<&'static str> {
    match review {
        Review::Accepted => Ok("accept"),
        Review::Rejected => Ok("reject"),
        Review::Pending => Err(Error::NotAnAction),
    }
}

/// Sets the review of these tasks as what a transaction does.
async fn review_each(
    mut transaction: Action,
    ids: &[i64],
    review: Review,
    actor: Actor<'_>,
) -> Result<Option<Change>> {
    let action = action(review)?;
    let ids = serde_json::to_string(ids).unwrap_or_default();
    let unknown = sqlx::query_scalar!(
        r#"
        SELECT value + 0 AS "value!: i64"
        FROM json_each(?)
        WHERE value NOT IN (SELECT id FROM task)
        LIMIT 1
        "#,
        ids
    )
    .fetch_optional(&mut *transaction)
    .await?;
    if let Some(id) = unknown {
        return Err(Error::NoTask { id });
    }
    let group = next_group(&mut transaction).await?;
    let revisions = sqlx::query!(
        "
        INSERT INTO revision (group_id, task_id, who, action, before, after, note)
        SELECT ?1, id, ?2, ?3, json_object('review', review), json_object('review', ?4), ?5
        FROM task
        WHERE id IN (SELECT value FROM json_each(?6)) AND review <> ?4
        ORDER BY id
        ",
        group,
        actor.who,
        action,
        review,
        actor.note,
        ids
    )
    .execute(&mut *transaction)
    .await?;
    reviewed(transaction, group, review, revisions.rows_affected()).await
}

/// Ends an action whose revisions were written: gives all tasks of the group the review that it is about. Without any
/// revision nothing happened.
async fn reviewed(mut action: Action, group: i64, review: Review, revisions: u64) -> Result<Option<Change>> {
    if revisions == 0 {
        return Ok(None);
    }
    sqlx::query!(
        "
        UPDATE task
        SET review = ?1, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
        WHERE id IN (SELECT task_id FROM revision WHERE group_id = ?2)
        ",
        review,
        group
    )
    .execute(&mut *action)
    .await?;
    action.commit().await?;
    Ok(Some(Change {
        group,
        tasks: revisions as i64,
        undoes: None,
    }))
}

impl Store {
    /// Sets the review of these tasks, as one action. Tasks that have it already are left alone; where all have it,
    /// nothing happens and there is no change.
    ///
    /// # Errors
    ///
    /// [`Error::NoTask`] when one of the ids names no task; then no review is set.
    pub async fn review(&self, ids: &[i64], review: Review, actor: Actor<'_>) -> Result<Option<Change>> {
        review_each(self.act(actor.who).await?, ids, review, actor).await
    }

    /// Sets the review of one task that is to be of the version that somebody saw. Where it has the review already,
    /// nothing happens and there is no change.
    ///
    /// # Errors
    ///
    /// [`Error::NoTask`]; [`Error::ChangedMeanwhile`].
    pub async fn review_seen(
        &self,
        id: i64,
        seen: i64,
        review: Review,
        actor: Actor<'_>,
    ) -> Result<Option<Change>> {
        let mut transaction = self.act(actor.who).await?;
        check_version(&mut transaction, id, seen).await?;
        review_each(transaction, &[id], review, actor).await
    }

    /// Sets the review of all tasks that a filter lets through, as one action; those that have it already are left alone.
    /// Where all have it, nothing happens and there is no change.
    ///
    /// # Errors
    ///
    /// [`Error::AnotherCount`] when the filter lets through another number of tasks than `expected`.
    pub async fn review_all(
        &self,
        filter: &Filter,
        expected: Option<i64>,
        review: Review,
        actor: Actor<'_>,
    ) -> Result<Option<Change>> {
        let action = action(review)?;
        let way = self.way(filter, true).await?;
        let mut transaction = self.act(actor.who).await?;
        if let Some(expected) = expected {
            // Nobody else writes while the action is under way, so that this is the number that it sees itself.
            let found = self.count(filter, None).await?;
            if found != expected {
                return Err(Error::AnotherCount { expected, found });
            }
        }
        let group = next_group(&mut transaction).await?;
        let mut sql = Sql::default();
        sql.push(
            "INSERT INTO revision (group_id, task_id, who, action, before, after, note)
            SELECT ?, task.id, ?, ?, json_object('review', review), json_object('review', ?), nullif(?, '')",
        )
        .values(&[
            group.into(),
            actor.who.into(),
            action.into(),
            review.as_str().into(),
            actor.note.unwrap_or_default().into(),
        ]);
        way.push(&mut sql, list::BY_ID, "");
        sql.push(" AND +task.review <> ? ORDER BY task.id")
            .values(&[review.as_str().into()]);
        let (text, values) = sql.finish();
        let revisions = sqlx::query_with(text, values).execute(&mut *transaction).await?;
        reviewed(transaction, group, review, revisions.rows_affected()).await
    }

    /// Rejects tasks, each for a reason of its own, as one action. Tasks that are not pending any more are left alone:
    /// somebody has decided meanwhile. Where none is pending, nothing happens and there is no change.
    pub async fn reject_pending(&self, reasons: &[(i64, String)], who: &str) -> Result<Option<Change>> {
        let reasons = serde_json::to_string(reasons).unwrap_or_default();
        let mut transaction = self.act(who).await?;
        let group = next_group(&mut transaction).await?;
        let revisions = sqlx::query!(
            "
            INSERT INTO revision (group_id, task_id, who, action, before, after, note)
            SELECT
                ?1, task.id, ?2, 'reject', json_object('review', 'pending'), json_object('review', 'rejected'),
                json_extract(reason.value, '$[1]')
            FROM json_each(?3) AS reason
            -- CROSS keeps the order: SQLite would rather look through all reasons for each task.
            CROSS JOIN task ON task.id = json_extract(reason.value, '$[0]')
            WHERE task.review = 'pending'
            ORDER BY task.id
            ",
            group,
            who,
            reasons
        )
        .execute(&mut *transaction)
        .await?;
        reviewed(transaction, group, Review::Rejected, revisions.rows_affected()).await
    }

    /// The version of a task: it grows with each action on it. 0 when there was none.
    pub async fn version(&self, task_id: i64) -> Result<i64> {
        version(&mut *self.pool.acquire().await?, task_id).await
    }

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
            check_version(&mut transaction, task_id, seen).await?;
        }
        let group = match edit.group {
            Some(group) if goes_on(&mut transaction, task_id, group, actor.who).await? => group,
            _ => next_group(&mut transaction).await?,
        };
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

async fn version(connection: &mut SqliteConnection, task_id: i64) -> Result<i64> {
    let version = sqlx::query_scalar!(
        r#"
        SELECT coalesce(max(id), 0) AS "version!: i64"
        FROM revision
        WHERE task_id = ?
        "#,
        task_id
    )
    .fetch_one(connection)
    .await?;
    Ok(version)
}

/// Fails when the task is not of the version that somebody saw.
async fn check_version(connection: &mut SqliteConnection, id: i64, seen: i64) -> Result<()> {
    let now = version(connection, id).await?;
    if now != seen {
        return Err(Error::ChangedMeanwhile { id, seen, now });
    }
    Ok(())
}

/// Whether the last thing that happened to the task is this edit of this person's.
async fn goes_on(connection: &mut SqliteConnection, task_id: i64, group: i64, who: &str) -> Result<bool> {
    let last = sqlx::query!(
        "
        SELECT group_id, who, action
        FROM revision
        WHERE task_id = ?
        ORDER BY id DESC
        LIMIT 1
        ",
        task_id
    )
    .fetch_optional(connection)
    .await?;
    Ok(last.is_some_and(|last| last.group_id == group && last.who == who && last.action == "edit"))
}

/// What the action so far did to a text of the task, or of an instance of it: the columns before it.
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

/// Returns how many revisions that took: 1, or 0 where the instruction is the same.
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
    let mut before = before_group(connection, group, task_id, Some(old.id)).await?;
    let mut after = serde_json::Map::new();
    let mut differs = false;
    for (column, old, new) in [
        ("input", &old.input, &edit.input),
        ("output", &old.output, &edit.output),
    ] {
        let new = new.as_ref().filter(|new| *new != old);
        differs |= new.is_some();
        // A column that an earlier save of the session changed is told again, too.
        if new.is_some() || before.contains_key(column) {
            before.entry(column).or_insert_with(|| old.as_str().into());
            after.insert(column.into(), new.unwrap_or(old).as_str().into());
        }
    }
    if !differs {
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
