//! The dataset: one SQLite file, through `sqlx`. A file for each table, a function for each query; SQL is written
//! here and nowhere else. `db/migrations` has the schema, `db/README.md` a tour of it.
//!
//! - [`task`], [`instance`], [`dataset`]: what the data is.
//! - [`request`], [`round`]: what models were asked, and what became of their answers.
//! - [`evolution`]: which rounds made a task of another.
//! - [`filter`], [`choices`], [`list`], [`fts`], [`provenance`], [`neighbor`]: ways to look at tasks.
//! - [`revision`], [`edit`], [`undo`], [`log`]: reviews and edits, their taking back, their history.
//! - [`judgment`]: what models think of instances.
//! - [`stats`](mod@stats): counts; [`tally`]: those that are kept; [`facts`]: how to count them oneself; [`watch`]: whether
//!   they may have changed.
//! - [`run`]: which command put it there; [`batch`]: many tasks or none; [`imports`]: files of them, [`identity`]: which of
//!   their rows are there already.
//! - [`mod@open`]: ways to open a file, also where nothing may be written.
//! - [`draft`]: a file that appears whole; [`backup`]: a copy of one in use; [`check`]: whether all of it is in order.
//! - [`error`]: what can go wrong with a file, in words.

pub mod asked;
mod column;
pub mod curation;
pub mod dataset;
pub mod error;
pub mod file;
pub mod instance;
pub mod query;
mod rows;
pub mod task;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sqlx::{
    Sqlite, SqlitePool, Transaction,
    migrate::Migrator,
    pool::PoolConnection,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

use crate::leave;
use file::open::ReadOnly;

pub use asked::batch::Batch;
pub use asked::run::RunStatus;
pub use curation::edit::{Edit, InstanceEdit};
pub use curation::revision::{Actor, Change};
pub use dataset::{DatasetRow, ExportRow, Needs};
pub use error::{Error, Result};
pub use file::draft::Draft;
pub use query::filter::Filter;
pub use query::list::{ListRow, Position, Sort};
pub use task::NewTask;

/// Every migration, compiled in.
static MIGRATIONS: Migrator = sqlx::migrate!("db/migrations");

/// `PRAGMA user_version` of a file with all migrations applied: the number of the last one.
const SCHEMA: i64 = 9;

/// How long who wants to write waits for others, whoever they are.
const PATIENCE: Duration = Duration::from_secs(5);

/// SQLite waits so long at a time for the lock; then it is asked again. Left to itself it looks more and more seldom, and
/// would miss the moments between the transactions of an import.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// An open dataset. Cheap to clone; all clones share a few connections.
///
/// Functions that write take the write lock at their start (`BEGIN IMMEDIATE`) and are one transaction each. A commit
/// has reached the disk when its function returns.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
    /// The connection that writes; one, since there is one lock.
    writers: SqlitePool,
    path: PathBuf,
    options: SqliteConnectOptions,
    read_only: Option<ReadOnly>,
    answers: asked::answers::Answers,
}

impl Store {
    /// Makes a new, empty dataset at `path`, which must not exist yet.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`], [`Error::CannotCreate`], [`Error::DiskFull`]. After an error there is no file at `path`.
    pub async fn create(path: &Path) -> Result<Store> {
        Draft::begin(path).await?.publish().await
    }

    /// Connects to the file that `options` are for; `path` is what it is called.
    async fn connect(
        path: &Path,
        options: SqliteConnectOptions,
        read_only: Option<ReadOnly>,
    ) -> std::result::Result<Store, sqlx::Error> {
        // Connections open when they are needed: a command that asks one thing opens one.
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
            .acquire_timeout(PATIENCE)
            .connect_lazy_with(options.clone().busy_timeout(LOOK_AGAIN));
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

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes all connections, which folds the write-ahead log into the file.
    pub async fn close(self) {
        self.answers.settle().await;
        self.writers.close().await;
        self.pool.close().await;
        leave::closed(&self.path);
    }

    /// Ends reading: [`Store::check_unchanged`], then [`Store::close`].
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

    /// A transaction that holds the write lock from its start, so that it never fails halfway for another writer.
    pub(crate) async fn write(&self) -> Result<Transaction<'static, Sqlite>> {
        if let Some(read_only) = &self.read_only {
            return Err(read_only.refusal(&self.path));
        }
        begin_to_write(&self.writers).await
    }

    /// Fails where something that is only read was written to since it was opened.
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

/// Takes the write lock, by a connection of these.
async fn begin_to_write(writers: &SqlitePool) -> Result<Transaction<'static, Sqlite>> {
    let start = Instant::now();
    loop {
        match writers.begin_with("BEGIN IMMEDIATE").await.map_err(Error::from) {
            Err(Error::Locked) if start.elapsed() < PATIENCE => {}
            begun => return begun,
        }
    }
}
