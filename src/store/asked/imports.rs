//! Imports rows of files as tasks. An import is one action in the history and one run, but several
//! transactions, between which others can write.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

use super::bulk_guard;
use crate::leave;
use crate::store::curation::revision::next_group;
use crate::store::fields::{Values, assign};
use crate::store::rows::json_rows;
use crate::store::{Change, Error, Result, RunStatus, Store};

/// How long the lock is left to others after each transaction: longer than waiting writers pause
/// between attempts ([`crate::store::file::busy::LOOK_AGAIN`]).
const PAUSE: Duration = Duration::from_millis(25);

/// A task read from a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedTask {
    /// Its id in the file.
    pub source_id: Option<String>,
    /// A short name for people.
    pub name: Option<String>,
    /// The system message.
    pub system: Option<String>,
    /// What to do.
    pub instruction: String,
    /// Whether the output is one of a few labels.
    pub is_classification: bool,
    /// Its examples.
    pub instances: Vec<ImportedInstance>,
    /// Columns that may become fields, with their values as JSON.
    #[serde(default)]
    pub cells: Vec<(String, String)>,
    /// Values of fields by their ids.
    #[serde(skip)]
    pub fields: Vec<(i64, Values)>,
}

/// An instance read from a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedInstance {
    /// The input; may be empty.
    pub input: String,
    /// The output.
    pub output: String,
    /// Its row in the file, from 1.
    pub row: i64,
    /// Other fields of the row, as a JSON object.
    pub extra: Option<String>,
    /// The messages after the first answer, as a JSON list.
    #[serde(default)]
    pub turns: Option<String>,
}

/// A row of `task`: `id`, `source_id`, `name`, `system`, `instruction`, `length`,
/// `is_classification`.
#[derive(Serialize)]
struct ImportTaskRow<'a>(
    i64,
    &'a Option<String>,
    &'a Option<String>,
    &'a Option<String>,
    &'a str,
    i64,
    bool,
);

/// A row of `instance`: `task_id`, `ordinal`, `input`, `output`, `source_row`, `extra`, `turns`.
#[derive(Serialize)]
struct ImportInstanceRow<'a>(
    i64,
    usize,
    &'a str,
    &'a str,
    i64,
    &'a Option<String>,
    &'a Option<String>,
);

/// The rows of some imported tasks.
struct ImportRows<'a> {
    tasks: Vec<ImportTaskRow<'a>>,
    instances: Vec<ImportInstanceRow<'a>>,
    values: Vec<(i64, i64, &'a Values)>,
}

impl ImportRows<'_> {
    /// Makes the rows of tasks, whose ids are those from `first` on.
    fn of(tasks: &[ImportedTask], first: i64) -> ImportRows<'_> {
        let mut rows = ImportRows {
            tasks: Vec::with_capacity(tasks.len()),
            instances: Vec::with_capacity(tasks.len()),
            values: Vec::new(),
        };
        for (id, task) in (first..).zip(tasks) {
            let texts = task
                .instances
                .iter()
                .flat_map(|instance| [&instance.input, &instance.output]);
            rows.tasks.push(ImportTaskRow(
                id,
                &task.source_id,
                &task.name,
                &task.system,
                &task.instruction,
                bulk_guard::length_of(std::iter::once(&task.instruction).chain(texts)),
                task.is_classification,
            ));
            let values = task.fields.iter();
            rows.values
                .extend(values.map(|(field, values)| (*field, id, values)));
            let instances = task.instances.iter().enumerate();
            rows.instances.extend(instances.map(|(ordinal, instance)| {
                ImportInstanceRow(
                    id,
                    ordinal,
                    &instance.input,
                    &instance.output,
                    instance.row,
                    &instance.extra,
                    &instance.turns,
                )
            }));
        }
        rows
    }

    async fn insert(&self, connection: &mut SqliteConnection, run_id: i64) -> Result<()> {
        let (task_rows, instance_rows) = (json_rows(&self.tasks), json_rows(&self.instances));
        sqlx::query!(
            "
            INSERT INTO task (
                id, source_id, name, system, instruction, length, is_classification, origin, review, run_id
            )
            SELECT
                value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, 'import',
                'pending', ?
            FROM json_each(?)
            ",
            run_id,
            task_rows
        )
        .execute(&mut *connection)
        .await?;
        sqlx::query!(
            "
            INSERT INTO instance (task_id, ordinal, input, output, source_row, extra, turns)
            SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
            FROM json_each(?)
            ",
            instance_rows
        )
        .execute(&mut *connection)
        .await?;
        assign::insert(connection, &self.values).await
    }
}

/// An import in progress.
#[derive(Debug)]
pub struct Import<'a> {
    store: &'a Store,
    config: String,
    who: &'a str,
    note: &'a str,
    /// The run and the action's group, once something was written.
    begun: Option<(i64, i64)>,
    tasks: i64,
}

impl Store {
    /// Prepares an import by `who` as a run with this configuration; `note`, the file, goes into
    /// the history. Writes nothing yet.
    pub fn begin_import<'a>(&'a self, config: &serde_json::Value, who: &'a str, note: &'a str) -> Import<'a> {
        Import {
            store: self,
            config: config.to_string(),
            who,
            note,
            begun: None,
            tasks: 0,
        }
    }
}

impl Import<'_> {
    /// Continues the latest import of this configuration if it was cut off. `here` are the tasks
    /// whose rows the file has: if a task of that import is not among them, the file has changed,
    /// or it is standard input, and a new run begins.
    pub async fn go_on(&mut self, here: &BTreeSet<i64>) -> Result<()> {
        let mut transaction = self.store.write().await?;
        let latest = sqlx::query!(
            r#"
            SELECT id AS "id!: i64", status AS "status!: RunStatus"
            FROM run
            WHERE command = 'import' AND config = ?
            ORDER BY id DESC
            LIMIT 1
            "#,
            self.config
        )
        .fetch_optional(&mut *transaction)
        .await?;
        let cut_off = |status| matches!(status, RunStatus::Interrupted | RunStatus::Failed);
        let Some(run) = latest.filter(|run| cut_off(run.status)) else {
            return Ok(());
        };
        let first = sqlx::query!(
            r#"
            SELECT revision.group_id AS "group!: i64", revision.who
            FROM task
            JOIN revision ON revision.task_id = task.id AND revision.action = 'import'
            WHERE task.run_id = ?
            ORDER BY revision.id
            LIMIT 1
            "#,
            run.id
        )
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(first) = first.filter(|first| first.who == self.who) else {
            return Ok(());
        };
        let brought = sqlx::query_scalar!(r#"SELECT id AS "id!: i64" FROM task WHERE run_id = ?"#, run.id)
            .fetch_all(&mut *transaction)
            .await?;
        let are_here = brought.iter().all(|id| here.contains(id));
        if !are_here || is_taken_back(&mut transaction, first.group).await? {
            return Ok(());
        }
        sqlx::query!(
            "UPDATE run SET status = 'running', ended_at = NULL WHERE id = ?",
            run.id
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        self.note_begun(run.id, first.group);
        Ok(())
    }

    fn note_begun(&mut self, run_id: i64, group: i64) {
        if self.begun.replace((run_id, group)).is_none() {
            leave::begun(&self.store.path, run_id);
        }
    }

    /// Adds these tasks, pending, as one transaction.
    ///
    /// # Errors
    ///
    /// [`Error::TakenBackMeanwhile`] if the earlier parts of the import have been undone.
    pub async fn add(&mut self, tasks: &[ImportedTask]) -> Result<()> {
        if tasks.is_empty() {
            return Ok(());
        }
        self.pause().await;
        let mut action = self.store.act(self.who).await?;
        let (run_id, group) = self.begin(&mut action).await?;
        let first = bulk_guard::begin(&mut action).await?;
        let rows = ImportRows::of(tasks, first);
        rows.insert(&mut action, run_id).await?;
        sqlx::query!(
            r#"
            INSERT INTO revision (group_id, task_id, who, action, before, after, note)
            SELECT ?1, id, ?2, 'import', '{"review":"rejected"}', '{"review":"pending"}', ?3
            FROM task
            WHERE id >= ?4
            ORDER BY id
            "#,
            group,
            self.who,
            self.note,
            first
        )
        .execute(&mut *action)
        .await?;
        bulk_guard::end(&mut action, first).await?;
        action.commit().await?;
        self.note_begun(run_id, group);
        self.tasks += tasks.len() as i64;
        Ok(())
    }

    /// Restores tasks whose import was undone, as pending, as one transaction. Tasks that were
    /// reviewed since then stay as they are.
    ///
    /// # Errors
    ///
    /// As [`Import::add`].
    pub async fn bring_back(&mut self, ids: &[i64]) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        self.pause().await;
        let ids = json_rows(ids);
        let mut action = self.store.act(self.who).await?;
        let (run_id, group) = self.begin(&mut action).await?;
        let back = sqlx::query!(
            r#"
            INSERT INTO revision (group_id, task_id, who, action, before, after, note)
            SELECT ?1, task_id, ?2, 'import', '{"review":"rejected"}', '{"review":"pending"}', ?3
            FROM withdrawn
            WHERE task_id IN (SELECT value FROM json_each(?4))
            ORDER BY task_id
            "#,
            group,
            self.who,
            self.note,
            ids
        )
        .execute(&mut *action)
        .await?;
        if back.rows_affected() == 0 {
            return Ok(());
        }
        sqlx::query!(
            "
            UPDATE task
            SET review = 'pending', updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
            WHERE id IN (SELECT value FROM json_each(?1))
                AND id IN (SELECT task_id FROM revision WHERE group_id = ?2)
                AND review = 'rejected'
            ",
            ids,
            group
        )
        .execute(&mut *action)
        .await?;
        action.commit().await?;
        self.note_begun(run_id, group);
        self.tasks += back.rows_affected() as i64;
        Ok(())
    }

    /// Returns how many tasks it has added or restored so far.
    pub fn tasks(&self) -> i64 {
        self.tasks
    }

    /// Records how it ended. Returns what it did, or `None` if it added nothing.
    pub async fn finish(self, status: RunStatus) -> Result<Option<Change>> {
        let Some((run_id, group)) = self.begun else {
            return Ok(None);
        };
        self.store.finish_run(run_id, status).await?;
        let change = Change {
            group,
            tasks: self.tasks,
            undoes: None,
        };
        Ok((self.tasks > 0).then_some(change))
    }

    async fn pause(&self) {
        if self.begun.is_some() {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Returns the run and the group of the import, within a transaction of it.
    async fn begin(&self, connection: &mut SqliteConnection) -> Result<(i64, i64)> {
        if let Some((run_id, group)) = self.begun {
            return match is_taken_back(connection, group).await? {
                true => Err(Error::TakenBackMeanwhile { group }),
                false => Ok((run_id, group)),
            };
        }
        let run = sqlx::query!(
            "INSERT INTO run (command, config) VALUES ('import', ?)",
            self.config
        )
        .execute(&mut *connection)
        .await?;
        Ok((run.last_insert_rowid(), next_group(connection).await?))
    }
}

/// Whether the action has been undone.
async fn is_taken_back(connection: &mut SqliteConnection, group: i64) -> Result<bool> {
    let taken_back = sqlx::query_scalar!(
        r#"
        SELECT EXISTS (
            SELECT 1
            FROM revision AS taken
            WHERE taken.undoes = ?
                AND NOT EXISTS (SELECT 1 FROM revision AS redone WHERE redone.undoes = taken.group_id)
        ) AS "taken!: bool"
        "#,
        group
    )
    .fetch_one(connection)
    .await?;
    Ok(taken_back)
}
