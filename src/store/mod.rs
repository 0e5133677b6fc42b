//! The dataset: one SQLite file, accessed through `sqlx`. Each table has a file, each query a
//! function; all SQL is here. `db/migrations` has the schema, `db/README.md` a tour of it.
//!
//! - [`task`], [`instance`], [`dataset`]: the data.
//! - [`asked`]: requests to models and their results; runs, rounds and imports.
//! - [`curation`]: reviews, edits, judgments, undo and the history.
//! - [`documents`]: documents, passages, and the tasks made from them.
//! - [`fields`]: fields of one's own, and their values.
//! - [`query`]: filters, lists, search and counts.
//! - [`teams`]: several reviewers: assignments, opinions, comments, agreement.
//! - [`merged`]: several datasets made into one.
//! - [`file`]: opening, creating, checking and copying the file.
//! - [`error`]: what can go wrong with a file, in words.

pub mod asked;
mod column;
pub mod curation;
pub mod dataset;
pub mod documents;
pub mod error;
pub mod fields;
pub mod file;
pub mod instance;
pub mod merged;
pub mod query;
mod rows;
pub mod task;
pub mod teams;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    Sqlite, SqlitePool, Transaction,
    migrate::Migrator,
    pool::PoolConnection,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

use crate::leave;
use file::{busy, open::ReadOnly};

pub use asked::batch::TaskBatch;
pub use asked::run::RunStatus;
pub use curation::edit::{Edit, InstanceEdit};
pub use curation::rescue::Rescue;
pub use curation::revision::{Actor, Change};
pub use curation::turns::{NewTurn, TurnEdit};
pub use dataset::DatasetRow;
pub use error::{Error, Result};
pub use fields::{Field, FieldError};
pub use file::draft::Draft;
pub use query::candidates::{CandidateFilter, CandidateView, RejectedCandidate};
pub use query::filter::Filter;
pub use query::list::{ListRow, Position, Sort};
pub use task::NewTask;
pub use teams::TeamError;

/// All migrations, compiled in.
static MIGRATIONS: Migrator = sqlx::migrate!("db/migrations");

/// `PRAGMA user_version` of a file with all migrations applied: the number of the last one.
const SCHEMA: i64 = 16;

/// An open dataset. Cheap to clone; all clones share a few connections.
///
/// A function that writes is one transaction, which takes the write lock at its start (`BEGIN
/// IMMEDIATE`). Its commit has reached the disk when the function returns.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
    /// The connection that writes; only one, since there is one write lock.
    writers: SqlitePool,
    path: PathBuf,
    options: SqliteConnectOptions,
    read_only: Option<ReadOnly>,
    answers: asked::answers::AnswerQueue,
}

impl Store {
    /// Creates a new, empty dataset at `path`, which must not exist yet.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`], [`Error::CannotCreate`], [`Error::DiskFull`]. After an error there is no
    /// file at `path`.
    pub async fn create(path: &Path) -> Result<Store> {
        Draft::begin(path).await?.publish().await
    }

    /// Connects with `options`; `path` names the file in messages.
    async fn connect(
        path: &Path,
        options: SqliteConnectOptions,
        read_only: Option<ReadOnly>,
    ) -> std::result::Result<Store, sqlx::Error> {
        // Connections open when they are needed: a command with one query opens one.
        let connections = || {
            SqlitePoolOptions::new()
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
        };
        let pool = connections()
            .max_connections(4)
            .connect_with(options.clone())
            .await?;
        let writers = connections()
            .max_connections(1)
            .acquire_timeout(busy::TIMEOUT)
            .connect_lazy_with(options.clone().busy_timeout(busy::LOOK_AGAIN));
        file::open::note_opened(&pool);
        file::open::note_opened(&writers);
        Ok(Store {
            pool,
            writers,
            path: path.into(),
            options,
            read_only,
            answers: Default::default(),
        })
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes all connections. The last one to close moves the write-ahead log into the file.
    pub async fn close(self) {
        self.answers.settle().await;
        self.writers.close().await;
        self.pool.close().await;
        leave::closed(&self.path);
    }

    /// Ends reading: calls [`Store::check_unchanged`], then [`Store::close`].
    ///
    /// # Errors
    ///
    /// [`Error::ChangedWhileRead`].
    pub async fn finish(self) -> Result<()> {
        let unchanged = self.check_unchanged();
        self.close().await;
        unchanged
    }

    async fn acquire(&self) -> Result<PoolConnection<Sqlite>> {
        Ok(self.pool.acquire().await?)
    }

    /// Begins a transaction that holds the write lock from its start, so that it cannot fail
    /// halfway because of another writer.
    pub(crate) async fn write(&self) -> Result<Transaction<'static, Sqlite>> {
        if let Some(read_only) = &self.read_only {
            return Err(read_only.refusal(&self.path));
        }
        begin_to_write(&self.writers).await
    }

    /// Fails if a file that is read without a lock was written to since it was opened.
    ///
    /// # Errors
    ///
    /// [`Error::ChangedWhileRead`].
    pub fn check_unchanged(&self) -> Result<()> {
        self.read_only
            .as_ref()
            .map_or(Ok(()), |read_only| read_only.check(&self.path))
    }
}

/// Takes the write lock through a connection of `writers`.
async fn begin_to_write(writers: &SqlitePool) -> Result<Transaction<'static, Sqlite>> {
    // SQLite waits for `busy::LOOK_AGAIN` within each attempt.
    busy::retry(Duration::ZERO, move || async move {
        Ok(writers.begin_with("BEGIN IMMEDIATE").await?)
    })
    .await
}
