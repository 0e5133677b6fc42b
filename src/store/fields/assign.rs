//! Values are set for tasks, as actions in the history. `before` and `after` of such a revision
//! are all values that a task has of a field: `{"values": ["hard"]}`.

use sqlx::SqliteConnection;

use super::{Field, FieldError, Values};
use crate::store::curation::revision::{Actor, Change, check_tasks, check_version, next_group};
use crate::store::query::query_plan::{BY_ID, Goal};
use crate::store::query::sql::Sql;
use crate::store::rows::json_rows;
use crate::store::{Error, Filter, Result, Store};

/// What is to become of the values of a field.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// The field.
    pub field: Field,
    /// How its values change.
    pub how: How,
    /// The values.
    pub values: Values,
}

/// How values of a field change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// They are these.
    Set,
    /// These tags are added.
    Add,
    /// These tags are removed.
    Remove,
}

/// The values that a task has, and those that it gets, both as revisions have them. Values: the
/// field, and for the second one the new values.
const BEFORE: &str = "json_object('values', json((
    SELECT json_group_array(value)
    FROM (SELECT value FROM field_value WHERE field_id = ? AND task_id = task.id ORDER BY value)
)))";
const SET: &str = "json_object('values', json((
    SELECT json_group_array(value)
    FROM (SELECT DISTINCT value FROM json_each(?) WHERE ? IS NOT NULL ORDER BY value)
)))";
const ADD: &str = "json_object('values', json((
    SELECT json_group_array(value)
    FROM (
        SELECT value FROM json_each(?)
        UNION SELECT value FROM field_value WHERE field_id = ? AND task_id = task.id ORDER BY value
    )
)))";
const REMOVE: &str = "json_object('values', json((
    SELECT json_group_array(value)
    FROM (
        SELECT value
        FROM field_value
        WHERE value NOT IN (SELECT value FROM json_each(?)) AND field_id = ? AND task_id = task.id
        ORDER BY value
    )
)))";

impl Store {
    /// Sets values of these tasks, as one action. Tasks that have them already are left alone.
    /// Returns `None` if all have them. With `seen`, the only task must be of this version.
    ///
    /// # Errors
    ///
    /// [`Error::NoTask`] if one of the ids names no task, [`Error::ChangedMeanwhile`]; then nothing
    /// is set.
    pub async fn label(
        &self,
        ids: &[i64],
        seen: Option<i64>,
        assignments: &[Assignment],
        actor: Actor<'_>,
    ) -> Result<Option<Change>> {
        let mut transaction = self.act(actor.who).await?;
        if let (Some(seen), [id]) = (seen, ids) {
            check_version(&mut transaction, *id, seen).await?;
        }
        let json = json_rows(ids);
        check_tasks(&mut transaction, &json).await?;
        let group = next_group(&mut transaction).await?;
        for assignment in assignments {
            let mut sql = revisions_of(assignment, group, actor);
            sql.push(" FROM task WHERE task.id IN (SELECT value FROM json_each(?))")
                .values(&[json.as_str().into()]);
            record(&mut transaction, sql).await?;
        }
        let change = apply(&mut transaction, group).await?;
        if change.is_some() {
            transaction.commit().await?;
        }
        Ok(change)
    }

    /// Sets values of all tasks that pass the filter, as one action; otherwise as
    /// [`Store::label`].
    ///
    /// # Errors
    ///
    /// [`Error::AnotherCount`] if another number of tasks than `expected` passes the filter.
    pub async fn label_all(
        &self,
        filter: &Filter,
        expected: Option<i64>,
        assignments: &[Assignment],
        actor: Actor<'_>,
    ) -> Result<Option<Change>> {
        let plan = self.query_plan(filter, Goal::All).await?;
        let mut transaction = self.act(actor.who).await?;
        if let Some(expected) = expected {
            // Nobody else can write during the action, so that it sees the same number itself.
            let found = self.count(filter, None).await?;
            if found != expected {
                return Err(Error::AnotherCount { expected, found });
            }
        }
        let group = next_group(&mut transaction).await?;
        // All of them by the values that there were: one may be what the filter is about.
        for assignment in assignments {
            let mut sql = revisions_of(assignment, group, actor);
            plan.push(&mut sql, BY_ID, "");
            record(&mut transaction, sql).await?;
        }
        let change = apply(&mut transaction, group).await?;
        if change.is_some() {
            transaction.commit().await?;
        }
        Ok(change)
    }
}

/// Begins the statement that writes revisions of one field; the tasks follow.
fn revisions_of(assignment: &Assignment, group: i64, actor: Actor<'_>) -> Sql {
    let field = assignment.field.id;
    let values = assignment.values.to_json();
    let mut sql = Sql::default();
    sql.push(
        "INSERT INTO revision (group_id, task_id, field_id, who, action, before, after, note)
        SELECT ?, id, ?, ?, 'edit', before, after, nullif(?, '')
        FROM (SELECT task.id AS id, ",
    )
    .values(&[
        group.into(),
        field.into(),
        actor.who.into(),
        actor.note.unwrap_or_default().into(),
    ])
    .push(BEFORE)
    .values(&[field.into()])
    .push(" AS before, ")
    .push(match assignment.how {
        How::Set => SET,
        How::Add => ADD,
        How::Remove => REMOVE,
    })
    .values(&[values.as_str().into(), field.into()])
    .push(" AS after");
    sql
}

/// Writes the revisions of those tasks whose values change.
async fn record(connection: &mut SqliteConnection, mut sql: Sql) -> Result<()> {
    sql.push(") WHERE before <> after ORDER BY id");
    let (text, values) = sql.finish();
    sqlx::query_with(text, values).execute(connection).await?;
    Ok(())
}

/// Sets what the revisions of a group say. Returns what changed, `None` if nothing did.
async fn apply(connection: &mut SqliteConnection, group: i64) -> Result<Option<Change>> {
    let tasks = sqlx::query_scalar!(
        r#"SELECT count(DISTINCT task_id) AS "tasks!: i64" FROM revision WHERE group_id = ?"#,
        group
    )
    .fetch_one(&mut *connection)
    .await?;
    if tasks == 0 {
        return Ok(None);
    }
    clear(connection, group).await?;
    sqlx::query!(
        "
        INSERT INTO field_value (field_id, value, task_id)
        SELECT revision.field_id, said.value, revision.task_id
        FROM revision
        CROSS JOIN json_each(revision.after, '$.values') AS said
        WHERE revision.group_id = ? AND revision.field_id IS NOT NULL
        ",
        group
    )
    .execute(&mut *connection)
    .await?;
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
    Ok(Some(Change {
        group,
        tasks,
        undoes: None,
    }))
}

/// Removes the values of which the revisions of a group say what they were or became.
async fn clear(connection: &mut SqliteConnection, group: i64) -> Result<()> {
    sqlx::query!(
        "
        DELETE FROM field_value
        WHERE (field_id, value, task_id) IN (
            SELECT had.field_id, had.value, had.task_id
            FROM revision
            CROSS JOIN field_value AS had INDEXED BY field_value_by_task
                ON had.task_id = revision.task_id AND had.field_id = revision.field_id
            WHERE revision.group_id = ? AND revision.field_id IS NOT NULL
        )
        ",
        group
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Fails if a choice has a value no more that it had before the group.
pub(in crate::store) async fn check_choices(connection: &mut SqliteConnection, group: i64) -> Result<()> {
    let gone: Vec<(i64, String)> = sqlx::query_as(
        "SELECT DISTINCT field.id, cast(said.value AS TEXT)
        FROM revision
        JOIN field ON field.id = revision.field_id AND field.type = 'choice'
        CROSS JOIN json_each(revision.before, '$.values') AS said
        WHERE revision.group_id = ? AND said.value NOT IN (SELECT value FROM json_each(field.choices))
        ORDER BY 1, 2",
    )
    .bind(group)
    .fetch_all(&mut *connection)
    .await?;
    let Some((id, _)) = gone.first() else {
        return Ok(());
    };
    let fields = super::all(connection).await?;
    let values: Vec<String> = gone
        .iter()
        .filter(|(field, _)| field == id)
        .map(|(_, value)| value.clone())
        .collect();
    match (fields.iter().find(|field| field.id == *id), values.first()) {
        (Some(field), Some(value)) => Err(FieldError::Gone {
            group,
            name: field.name.clone(),
            value: value.clone(),
            way_out: field.brings_back(&values),
        }
        .into()),
        _ => Ok(()),
    }
}

/// Puts values back to what they were before the group.
pub(in crate::store) async fn restore(connection: &mut SqliteConnection, group: i64) -> Result<()> {
    clear(connection, group).await?;
    sqlx::query!(
        "
        INSERT INTO field_value (field_id, value, task_id)
        SELECT revision.field_id, said.value, revision.task_id
        FROM revision
        CROSS JOIN json_each(revision.before, '$.values') AS said
        WHERE revision.group_id = ? AND revision.field_id IS NOT NULL
        ",
        group
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Adds values of new tasks: the field, the task and the values of each.
pub(in crate::store) async fn insert(
    connection: &mut SqliteConnection,
    values: &[(i64, i64, &Values)],
) -> Result<()> {
    if values.is_empty() {
        return Ok(());
    }
    let rows = json_rows(values);
    sqlx::query!(
        "
        INSERT INTO field_value (field_id, value, task_id)
        SELECT rows.value ->> 0, said.value, rows.value ->> 1
        FROM json_each(?) AS rows
        CROSS JOIN json_each(rows.value, '$[2]') AS said
        ",
        rows
    )
    .execute(connection)
    .await?;
    Ok(())
}

impl Store {
    /// Sets values of tasks that have none of the field, and of which nobody has taken one away, as
    /// one action: the task, the field and the values of each. Returns `None` if there is no such
    /// task.
    pub async fn label_missing(
        &self,
        values: &[(i64, i64, Values)],
        actor: Actor<'_>,
    ) -> Result<Option<Change>> {
        if values.is_empty() {
            return Ok(None);
        }
        let rows = json_rows(values);
        let mut transaction = self.act(actor.who).await?;
        let group = next_group(&mut transaction).await?;
        sqlx::query!(
            r#"
            INSERT INTO revision (group_id, task_id, field_id, who, action, before, after, note)
            SELECT
                ?1, rows.value ->> 0, rows.value ->> 1, ?2, 'edit', '{"values":[]}',
                json_object('values', json((
                    SELECT json_group_array(said.value) FROM json_each(rows.value, '$[2]') AS said
                ))), ?3
            FROM json_each(?4) AS rows
            WHERE NOT EXISTS (
                    SELECT 1
                    FROM field_value
                    WHERE task_id = rows.value ->> 0 AND field_id = rows.value ->> 1
                )
                AND NOT EXISTS (
                    SELECT 1
                    FROM revision
                    WHERE task_id = rows.value ->> 0 AND field_id = rows.value ->> 1
                )
            GROUP BY rows.value ->> 0, rows.value ->> 1
            ORDER BY min(rows.key)
            "#,
            group,
            actor.who,
            actor.note,
            rows
        )
        .execute(&mut *transaction)
        .await?;
        let change = apply(&mut transaction, group).await?;
        if change.is_some() {
            transaction.commit().await?;
        }
        Ok(change)
    }
}
