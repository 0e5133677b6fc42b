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
//! - [`run`]: which command put it there; [`batch`]: many tasks or none.
//! - [`draft`]: a file that appears whole; [`backup`]: a copy of one in use; [`check`]: whether all of it is in order.
//! - [`error`]: what can go wrong with a file, in words.

mod acting;
mod adding;
mod answers;
pub mod backup;
pub mod batch;
pub mod check;
pub mod choices;
mod column;
pub mod dataset;
pub mod draft;
pub mod edit;
pub mod error;
pub mod evolution;
pub mod facts;
pub mod filter;
pub mod fts;
pub mod instance;
pub mod judgment;
pub mod list;
pub mod lock;
pub mod log;
pub mod neighbor;
pub mod provenance;
pub mod request;
pub mod revision;
pub mod round;
mod rows;
pub mod run;
mod sql;
pub mod stats;
pub mod tally;
pub mod task;
pub mod undo;
pub mod watch;
mod way;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    ConnectOptions, Sqlite, SqlitePool, Transaction,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous},
};

pub use batch::Batch;
pub use dataset::{DatasetRow, ExportRow};
pub use draft::Draft;
pub use edit::{Edit, InstanceEdit};
pub use error::{Error, Result};
pub use filter::Filter;
pub use list::{ListRow, Position, Sort};
pub use revision::{Actor, Change};
pub use run::RunStatus;
pub use task::NewTask;

/// Every migration, compiled in.
static MIGRATIONS: Migrator = sqlx::migrate!("db/migrations");

/// `PRAGMA application_id` of our files: "ewe1".
const APPLICATION_ID: i64 = 1_702_323_505;

/// `PRAGMA user_version` of a file with all migrations applied: the number of the last one.
const SCHEMA: i64 = 6;

/// From this size in bytes on, to bring a file up to date takes long enough to say so.
const LARGE: u64 = 200_000_000;

/// How long a statement waits for another process that is writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// An open dataset. Cheap to clone; all clones share a few connections.
///
/// Functions that write take the write lock at their start (`BEGIN IMMEDIATE`) and are one transaction each. A commit
/// has reached the disk when its function returns.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
    path: PathBuf,
    answers: answers::Answers,
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

    /// Opens the dataset at `path`, and brings its schema up to date when an older `ewe` made it. Never creates.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::NotADatabase`], [`Error::NotEwe`], [`Error::Newer`], [`Error::CannotOpen`],
    /// [`Error::Locked`].
    pub async fn open(path: &Path) -> Result<Store> {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => return Err(Error::NotADatabase { path: path.into() }),
            Ok(_) => {}
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::Missing { path: path.into() });
            }
            Err(source) => {
                return Err(Error::CannotOpen {
                    path: path.into(),
                    reason: source.to_string(),
                });
            }
        }
        // Looking at the header needs no lock that lasts, and must not change a file that is not ours.
        let pool = pool(options(path))
            .await
            .map_err(|error| Error::opening(path, error))?;
        let mut schema = check_header(&pool, path).await?;
        if schema < SCHEMA && std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > LARGE) {
            tracing::warn!(
                "`{}` was made by an older ewe and is brought up to date first, which takes a minute or two",
                path.display()
            );
        }
        while schema < SCHEMA {
            let Err(error) = MIGRATIONS.run(&pool).await else {
                break;
            };
            // Another process may have been faster, and be between two of them.
            let now = check_header(&pool, path).await?;
            if now == schema {
                return Err(Error::from(error));
            }
            schema = now;
        }
        Ok(Store {
            pool,
            path: path.into(),
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
        self.pool.close().await;
    }

    /// A transaction that holds the write lock from its start, so that it never fails halfway for another writer.
    pub(crate) async fn write(&self) -> Result<Transaction<'static, Sqlite>> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }
}

/// How every connection is set up. `synchronous = FULL`, because a paid-for response counts as kept once its commit
/// returns, and in WAL mode `NORMAL` may lose the last commits when the power fails.
fn options(path: &Path) -> SqliteConnectOptions {
    // A name such as `:memory:` or `file:x` means something else to SQLite, unless a directory precedes it.
    let path = if path.is_relative() {
        Path::new(".").join(path)
    } else {
        path.to_path_buf()
    };
    SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        // A bulk action may take its seconds; that is nothing to warn of.
        .disable_statement_logging()
}

/// Connections open when they are needed: a command that asks one thing opens one.
async fn pool(options: SqliteConnectOptions) -> std::result::Result<SqlitePool, sqlx::Error> {
    SqlitePoolOptions::new()
        .max_connections(4)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(options)
        .await
}

/// Reads the two numbers that say whose file this is; returns the schema's number.
async fn check_header(pool: &SqlitePool, path: &Path) -> Result<i64> {
    // The sums: sqlx asks SQLite where a bare column comes from, and a pragma's is from no table.
    let header = sqlx::query!(
        r#"
        SELECT
            application_id + 0 AS "application_id!: i64",
            user_version + 0 AS "user_version!: i64"
        FROM pragma_application_id, pragma_user_version
        "#
    )
    .fetch_one(pool)
    .await
    .map_err(|error| Error::opening(path, error))?;
    if header.application_id != APPLICATION_ID {
        return Err(Error::NotEwe { path: path.into() });
    }
    if header.user_version > SCHEMA {
        return Err(Error::Newer {
            path: path.into(),
            found: header.user_version,
            known: SCHEMA,
        });
    }
    Ok(header.user_version)
}
