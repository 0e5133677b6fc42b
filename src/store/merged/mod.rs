//! Several datasets made into one: a draft that begins as a copy of the first, to which the rows of
//! the others are added under new ids.
//!
//! - [`maps`]: which id of another dataset is which id of the draft. What both have, such as a seed
//!   or the run of a common ancestor, is one row.
//! - [`same_task`]: finds the tasks that both have.
//! - [`rows`]: the statements that add rows.
//! - [`history`]: revisions, and one review of the tasks that both have.
//!
//! The other dataset is attached to the draft's connection as `source`, a copy of one moment.
//! sqlx's macros know no attached file. So statements here are checked by tests instead, which run
//! all of them.

mod history;
mod maps;
mod rows;
mod same_task;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sqlx::{Connection, Row, SqliteConnection};

use super::asked::bulk_guard;
use super::asked::round::PoolTask;
use super::file::open::options;
use super::{Draft, Error, Result, Store};
use same_task::KnownTasks;

/// A dataset made of several, before anybody sees it. Dropped before [`MergedDraft::publish`], it
/// leaves nothing behind.
#[derive(Debug)]
pub struct MergedDraft {
    draft: Draft,
    known: KnownTasks,
}

/// What a dataset brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Brought {
    /// Tasks that the datasets before did not have.
    pub tasks: i64,
    /// Tasks with the same texts as one that was there.
    pub same_tasks: i64,
    /// Of these, tasks that were accepted in one dataset and rejected in another.
    pub conflicts: i64,
    /// Runs that were not there.
    pub runs: i64,
    /// Requests that were not there.
    pub requests: i64,
    /// Rounds that were not there.
    pub rounds: i64,
    /// The id of its first new task.
    #[serde(skip)]
    pub first: i64,
}

impl MergedDraft {
    /// Begins a dataset that is to appear at `out` with a copy of the one at `first`, of which
    /// nothing changes.
    ///
    /// # Errors
    ///
    /// As [`Store::backup`], and those of reading `first`.
    pub async fn begin(out: &Path, first: &Path) -> Result<MergedDraft> {
        let draft = Draft::copy_of(out, first).await?;
        let mut connection = connect(draft.store()).await?;
        // Whoever was at work on the dataset is not at work on the copy.
        run(&mut connection, rows::END_RUNS).await?;
        let mut known = KnownTasks::default();
        known.add_all(&mut connection, same_task::OF_DRAFT).await?;
        connection.close().await?;
        Ok(MergedDraft { draft, known })
    }

    /// Returns the dataset as it is so far.
    pub fn store(&self) -> &Store {
        self.draft.store()
    }

    /// Adds the rows of the dataset at `path`, as they are now, all or none. `name` is its name in
    /// the history.
    ///
    /// # Errors
    ///
    /// Those of reading `path`; [`Error::DiskFull`].
    pub async fn add(&mut self, path: &Path, name: &str) -> Result<Brought> {
        let copy = self.store().path().with_file_name("source");
        let mode = Store::copy_unchanged(path, &copy).await?;
        let added = self.add_copy(&copy, name).await;
        for ending in ["", "-wal", "-shm"] {
            // The rest goes with the folder.
            let _ = std::fs::remove_file(super::file::open::beside(&copy, ending));
        }
        let brought = added?;
        self.restrict(mode)?;
        Ok(brought)
    }

    /// Whoever may not read one of the datasets may not read all of them together.
    fn restrict(&self, mode: u32) -> Result<()> {
        let file = self.store().path();
        let restricted = std::fs::metadata(file)
            .map(|ours| Permissions::from_mode(ours.permissions().mode() & 0o777 & mode | 0o200))
            .and_then(|permissions| std::fs::set_permissions(file, permissions));
        restricted.map_err(|error| Error::CannotCreate {
            path: PathBuf::from(file),
            reason: error.to_string(),
        })
    }

    async fn add_copy(&mut self, copy: &Path, name: &str) -> Result<Brought> {
        let mut connection = connect(self.store()).await?;
        // To SQLite, a name such as `file:x` means something else, unless a folder precedes it.
        let source = Path::new(".").join(copy).to_string_lossy().into_owned();
        sqlx::query("ATTACH DATABASE ? AS source")
            .bind(source)
            .execute(&mut connection)
            .await?;
        let mut known = std::mem::take(&mut self.known);
        let brought = add_source(&mut connection, &mut known, name).await;
        self.known = known;
        // Closing it detaches the file and drops the maps, whatever became of the transaction.
        connection.close().await?;
        brought
    }

    /// Returns tasks of the dataset from the id `from` up to `to`, at most `most`, in the order of
    /// ids, without those that are rejected.
    pub async fn unrejected(&self, from: i64, to: i64, most: i64) -> Result<Vec<PoolTask>> {
        let rows = sqlx::query(
            "SELECT id, instruction, origin, review
            FROM task
            WHERE id BETWEEN ? AND ? AND review <> 'rejected'
            ORDER BY id
            LIMIT ?",
        )
        .bind(from)
        .bind(to)
        .bind(most)
        .fetch_all(&self.store().pool)
        .await?;
        let task = |row: sqlx::sqlite::SqliteRow| -> sqlx::Result<PoolTask> {
            Ok(PoolTask {
                id: row.try_get("id")?,
                instruction: row.try_get("instruction")?,
                origin: row.try_get("origin")?,
                review: row.try_get("review")?,
                round: None,
                parent_task_id: None,
                is_continuation: false,
                is_held_out: false,
            })
        };
        Ok(rows.into_iter().map(task).collect::<sqlx::Result<_>>()?)
    }

    /// Counts the tasks that are not rejected.
    pub async fn tasks(&self) -> Result<i64> {
        Ok(
            sqlx::query_scalar("SELECT count(*) FROM task WHERE review <> 'rejected'")
                .fetch_one(&self.store().pool)
                .await?,
        )
    }

    /// Returns the id of the last task.
    pub async fn last_task(&self) -> Result<i64> {
        Ok(sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM task")
            .fetch_one(&self.store().pool)
            .await?)
    }

    /// Moves it to its path, complete and on disk, and opens it.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] if another process was faster, [`Error::CannotCreate`],
    /// [`Error::DiskFull`].
    pub async fn publish(self) -> Result<Store> {
        self.draft.publish().await
    }
}

/// A connection of its own to the draft: attached files and temporary tables belong to it.
async fn connect(store: &Store) -> Result<SqliteConnection> {
    Ok(SqliteConnection::connect_with(&options(store.path())).await?)
}

/// Adds what `source` has, as one transaction.
async fn add_source(
    connection: &mut SqliteConnection,
    known: &mut KnownTasks,
    name: &str,
) -> Result<Brought> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let same = known.find(&mut transaction, same_task::OF_SOURCE).await?;
    maps::make(&mut transaction, &same).await?;
    // So that neither lengths and words nor revisions are seen to by triggers.
    let first = bulk_guard::begin(&mut transaction).await?;
    run(
        &mut transaction,
        "INSERT INTO main.acting (id, who) VALUES (1, 'ewe merge-db')",
    )
    .await?;
    for statement in rows::ADD {
        run(&mut transaction, statement).await?;
    }
    history::add(&mut transaction).await?;
    let conflicts = history::settle(&mut transaction, name).await?;
    bulk_guard::end(&mut transaction, first).await?;
    run(&mut transaction, "DELETE FROM main.acting").await?;
    let brought = Brought {
        conflicts,
        first,
        ..maps::count(&mut transaction).await?
    };
    known.add_mapped(&mut transaction).await?;
    transaction.commit().await?;
    Ok(brought)
}

async fn run(connection: &mut SqliteConnection, statement: &'static str) -> Result<()> {
    sqlx::query(statement).execute(connection).await?;
    Ok(())
}
