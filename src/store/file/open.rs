//! Opens a dataset, for writing, or for reading where nothing may be written.
//!
//! SQLite reads a file in WAL mode through two files beside it, which it creates if they are
//! missing: in a read-only folder, or on a full disk, it cannot. There the dataset is read in one
//! of these ways, depending on the files:
//!
//! - the file alone (`immutable`): there is no write-ahead log, so nobody has it open for writing;
//! - with the log and the index that another process keeps beside it and may be writing;
//! - with the log of a crashed writer: SQLite makes its index in memory, as it does where one
//!   program has the file for itself (`locking_mode = EXCLUSIVE`), and takes no locks
//!   (`unix-none`);
//! - with the file of an older ewe, a copy in memory that is migrated.

use std::{
    fs::Metadata,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use sqlx::{
    Connection, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous},
};

use super::{busy, header};
use crate::store::{Error, MIGRATIONS, Result, SCHEMA, Store};
use crate::{atomic_file, leave};

/// From this size in bytes on, migrations take long enough to announce them.
const LARGE: u64 = 200_000_000;

/// How long the end of a command waits for connections to close.
const CLOSING: Duration = Duration::from_secs(5);

/// The connections of all opened datasets, for [`close_all`].
static OPENED: Mutex<Vec<SqlitePool>> = Mutex::new(Vec::new());

/// Closes every dataset that is still open, whichever way the command ended. The last connection to
/// close moves the write-ahead log into the file and removes it.
pub async fn close_all() {
    let opened = std::mem::take(&mut *OPENED.lock().expect("nobody panics with the list"));
    let closing = futures::future::join_all(opened.iter().map(SqlitePool::close));
    // A connection still in use is not waited for: nothing is lost, the next process to open the
    // file does it.
    let _ = tokio::time::timeout(CLOSING, closing).await;
}

pub(in crate::store) fn note_opened(pool: &SqlitePool) {
    OPENED
        .lock()
        .expect("nobody panics with the list")
        .push(pool.clone());
}

/// Size, inode and time of a file when it was opened for reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Stamp {
    size: u64,
    inode: (u64, u64),
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            size: metadata.len(),
            inode: (metadata.dev(), metadata.ino()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// Why a dataset is read-only, and how it is read.
#[derive(Debug, Clone)]
pub(in crate::store) struct ReadOnly {
    /// The reason in words.
    reason: String,
    /// The file as it was, if it is read without locks.
    stamp: Option<Stamp>,
    /// A connection that keeps a copy in memory alive.
    copy: Option<Arc<Mutex<SqliteConnection>>>,
}

impl ReadOnly {
    /// Whether a copy in memory is read.
    pub fn is_copy(&self) -> bool {
        self.copy.is_some()
    }

    /// Makes the error for an attempt to write.
    pub fn refusal(&self, path: &Path) -> Error {
        Error::MayNotWrite {
            path: path.into(),
            reason: self.reason.clone(),
        }
    }

    /// Fails if the file was written to since it was opened: what was read may be of two moments.
    pub fn check(&self, path: &Path) -> Result<()> {
        let Some(stamp) = &self.stamp else { return Ok(()) };
        let now = path.metadata().ok().map(|metadata| Stamp::of(&metadata));
        if now.as_ref() == Some(stamp) && length(&beside(&real(path), "-wal")) == 0 {
            return Ok(());
        }
        Err(Error::ChangedWhileRead { path: path.into() })
    }
}

impl Store {
    /// Opens the dataset at `path` for writing, and migrates the file of an older `ewe`. Never
    /// creates one.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::NotAFile`], [`Error::NotADatabase`], [`Error::NotEwe`],
    /// [`Error::Newer`], [`Error::CannotOpen`], [`Error::MayNotWrite`], [`Error::Locked`].
    pub async fn open(path: &Path) -> Result<Store> {
        let metadata = look(path)?;
        match hindrance(path) {
            Some(reason) => {
                // That it is no dataset at all is more important to say.
                Store::only_read(path, &metadata, reason.clone())
                    .await?
                    .close()
                    .await;
                Err(Error::MayNotWrite {
                    path: path.into(),
                    reason,
                })
            }
            None => Store::to_write(path, &metadata).await,
        }
    }

    /// Opens the dataset at `path` for reading, also where nothing may be written. Where it may be
    /// written, it is migrated as by [`Store::open`].
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub async fn open_to_read(path: &Path) -> Result<Store> {
        let metadata = look(path)?;
        let reason = match hindrance(path).or_else(|| no_room(path)) {
            Some(reason) => reason,
            None => match Store::to_write(path, &metadata).await {
                Err(Error::DiskFull { reason } | Error::ReadOnly { reason }) => reason,
                Err(Error::CannotOpen { reason, .. }) => reason,
                opened => return opened,
            },
        };
        Store::only_read(path, &metadata, reason).await
    }

    /// Opens the dataset at `path` to copy it, and changes nothing of it: the file of an older
    /// `ewe` keeps its schema.
    ///
    /// # Errors
    ///
    /// Those of [`Store::open_to_read`].
    pub(in crate::store) async fn open_to_copy(path: &Path) -> Result<Store> {
        let metadata = look(path)?;
        if let Some(reason) = hindrance(path).or_else(|| no_room(path)) {
            return Store::only_read(path, &metadata, reason).await;
        }
        leave::opened(path);
        let store = Store::connect(path, options(path), None).await.map_err(|error| {
            leave::closed(path);
            Error::opening(path, error)
        })?;
        let looked = async {
            let mut connection = store.acquire().await?;
            header::look(&mut connection, path).await
        };
        match looked.await {
            Ok(_) => Ok(store),
            Err(error) => {
                store.close().await;
                Err(error)
            }
        }
    }

    /// Returns why the dataset is read-only; `None` if it can be written.
    pub fn read_only_because(&self) -> Option<&str> {
        Some(self.read_only.as_ref()?.reason.as_str())
    }

    /// Whether the dataset is read-only.
    pub fn is_read_only(&self) -> bool {
        self.read_only.is_some()
    }

    async fn to_write(path: &Path, metadata: &Metadata) -> Result<Store> {
        leave::opened(path);
        // Reading the header needs no lasting lock, and a foreign file must not be changed.
        let store = Store::connect(path, options(path), None).await.map_err(|error| {
            leave::closed(path);
            Error::opening(path, error)
        })?;
        match store.bring_up_to_date(metadata).await {
            Ok(()) => Ok(store),
            Err(error) => {
                store.close().await;
                Err(error)
            }
        }
    }

    async fn bring_up_to_date(&self, metadata: &Metadata) -> Result<()> {
        let path = &self.path;
        let mut connection = self.acquire().await?;
        let mut found = header::look(&mut connection, path).await?;
        if found.restored {
            header::restore(&mut connection, found.schema).await?;
        }
        // One that is dropped comes back when the runtime gets to it. The next query would not wait
        // for it, and open another, which reads the whole schema again: 2 ms, as long as a list.
        connection.return_to_pool().await;
        // SQLite waits by itself for a lock, but not where two readers would both write, of whom
        // one must let go: a change of the journal mode is such a case, a migration another.
        busy::retry(busy::LOOK_AGAIN, || self.keep_a_log()).await?;
        if found.schema < SCHEMA && metadata.len() > LARGE {
            tracing::warn!(
                "`{}` was made by an older ewe and is brought up to date first, which takes a minute or two",
                path.display()
            );
        }
        while found.schema < SCHEMA {
            let pool = &self.pool;
            let migrate = move || async move { Ok(MIGRATIONS.run(pool).await?) };
            let run = busy::retry(busy::LOOK_AGAIN, migrate).await;
            // Another process may have been faster, and be between two migrations.
            let now = header::look(&mut *self.acquire().await?, path).await?;
            match run {
                Ok(()) => break,
                Err(error) if now.schema == found.schema => return Err(error),
                Err(_) => found = now,
            }
        }
        Ok(())
    }

    /// Gives the file a write-ahead log if it has none, such as a dump or a copy by `VACUUM INTO`.
    async fn keep_a_log(&self) -> Result<()> {
        let mut connection = self.acquire().await?;
        let mode = sqlx::query_scalar::<_, String>("PRAGMA journal_mode");
        let mode = mode.fetch_one(&mut *connection).await?;
        connection.return_to_pool().await;
        if mode != "wal" {
            let wal = options(&self.path).journal_mode(SqliteJournalMode::Wal);
            SqliteConnection::connect_with(&wal).await?.close().await?;
        }
        Ok(())
    }

    /// Opens a file that cannot be written, for this reason.
    async fn only_read(path: &Path, metadata: &Metadata, reason: String) -> Result<Store> {
        let real = real(path);
        let has_log = length(&beside(&real, "-wal")) > 0;
        let has_index = beside(&real, "-shm").exists();
        // A journal that was not rolled back is left to SQLite.
        let as_it_stands = !has_log && length(&beside(&real, "-journal")) == 0;
        let read = to_read(options(path).read_only(true));
        let alone = read
            .clone()
            .vfs("unix-none")
            .locking_mode(SqliteLockingMode::Exclusive);
        let shared = ReadOnly {
            reason: reason.clone(),
            stamp: None,
            copy: None,
        };
        let still = ReadOnly {
            reason,
            stamp: Some(Stamp::of(metadata)),
            copy: None,
        };
        let mut ways = Vec::new();
        if as_it_stands {
            ways.push((read.immutable(true), still));
        } else if has_index || !has_log {
            ways.push((read, shared.clone()));
        }
        if has_log {
            ways.push((alone, shared));
        }
        let mut failed = None;
        for (options, read_only) in ways {
            match Store::read_by(path, options, read_only).await {
                Err(error @ (Error::CannotOpen { .. } | Error::ReadOnly { .. } | Error::DiskFull { .. })) => {
                    failed = Some(error);
                }
                opened => return opened,
            }
        }
        Err(failed.expect("there is a way for each state of the files"))
    }

    async fn read_by(path: &Path, options: SqliteConnectOptions, mut read_only: ReadOnly) -> Result<Store> {
        let store = Store::connect(path, options, Some(read_only.clone()))
            .await
            .map_err(|error| Error::opening(path, error))?;
        let schema = async {
            let mut connection = store.acquire().await?;
            Ok(header::look(&mut connection, path).await?.schema)
        };
        match schema.await {
            Ok(SCHEMA) => Ok(store),
            Ok(schema) => {
                let copied = in_memory(&store, schema).await;
                store.close().await;
                let (options, keeper) = copied?;
                read_only.copy = Some(Arc::new(Mutex::new(keeper)));
                Ok(Store::connect(path, options, Some(read_only)).await?)
            }
            Err(error) => {
                store.close().await;
                Err(error)
            }
        }
    }
}

/// Copies a dataset of this schema into memory and migrates the copy. Returns how to connect to it,
/// and a connection that keeps it alive.
async fn in_memory(store: &Store, schema: i64) -> Result<(SqliteConnectOptions, SqliteConnection)> {
    static COPIES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = COPIES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    // A name that begins with a slash is shared by the connections of the process.
    let name = format!("/ewe-{number}");
    let copy = to_read(set_up(SqliteConnectOptions::new().filename(&name).vfs("memdb")));
    let mut keeper = SqliteConnection::connect_with(&copy.clone().create_if_missing(true)).await?;
    let into = format!("file:{name}?vfs=memdb");
    sqlx::query!("VACUUM INTO ?", into).execute(&store.pool).await?;
    header::restore(&mut keeper, schema).await?;
    MIGRATIONS.run(&mut keeper).await?;
    Ok((copy, keeper))
}

/// Returns the metadata of `path`, which must be a file that is not empty. Nothing else is opened:
/// a pipe would wait for a writer.
fn look(path: &Path) -> Result<Metadata> {
    let metadata = std::fs::metadata(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::Missing { path: path.into() },
        _ => Error::CannotOpen {
            path: path.into(),
            reason: source.to_string(),
        },
    })?;
    let kind = metadata.file_type();
    let what = match () {
        // All of SQLite's data may still be in the log.
        () if kind.is_file() && metadata.len() == 0 && length(&beside(&real(path), "-wal")) == 0 => "empty",
        () if kind.is_file() => return Ok(metadata),
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(Error::NotAFile {
        path: path.into(),
        what,
    })
}

/// Returns why the dataset at `path` cannot be written, in words; `None` if it can. The folder
/// counts, too: SQLite keeps files there while a dataset is open.
fn hindrance(path: &Path) -> Option<String> {
    let real = real(path);
    let folder = atomic_file::parent(&real);
    let refused = |what: &Path| accessat(CWD, what, Access::WRITE_OK, AtFlags::EACCESS).err();
    let why = |errno: rustix::io::Errno, what: String| match errno {
        rustix::io::Errno::ROFS => "the file system is read-only".to_owned(),
        rustix::io::Errno::ACCESS | rustix::io::Errno::PERM => format!("{what} is read-only for you"),
        other => format!("{what}: {}", std::io::Error::from(other)),
    };
    match (refused(&real), refused(folder)) {
        (Some(errno), _) => Some(why(errno, "the file".to_owned())),
        (None, Some(errno)) => Some(why(errno, format!("its folder `{}`", folder.display()))),
        (None, None) => None,
    }
}

/// Returns that the disk has no room for the index that SQLite needs beside a dataset. If the index
/// exists because another process has the dataset open, none is needed.
fn no_room(path: &Path) -> Option<String> {
    /// The size of the first part of an index.
    const INDEX: u64 = 32 << 10;
    let real = real(path);
    let full = atomic_file::free(atomic_file::parent(&real)).ok()? < 2 * INDEX;
    (full && length(&beside(&real, "-shm")) < INDEX).then(|| "the disk is full".to_owned())
}

/// Sorts in memory: a disk that is full or read-only has no room for temporary files.
fn to_read(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options.pragma("temp_store", "memory")
}

/// Resolves links: SQLite keeps its other files beside the real one.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

/// Returns the file beside `path` with this ending, where SQLite keeps its log and index.
pub(in crate::store) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Returns the length of a file; 0 if there is none.
pub(in crate::store) fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

/// Returns the options of every connection to a file.
pub(in crate::store) fn options(path: &Path) -> SqliteConnectOptions {
    // To SQLite, a name such as `:memory:` or `file:x` means something else, unless a directory
    // precedes it.
    let path = if path.is_relative() {
        Path::new(".").join(path)
    } else {
        path.to_path_buf()
    };
    set_up(SqliteConnectOptions::new().filename(path))
}

/// `synchronous = FULL`, because a paid-for response counts as stored once its commit returns; in
/// WAL mode, `NORMAL` may lose the last commits in a power failure.
fn set_up(options: SqliteConnectOptions) -> SqliteConnectOptions {
    use sqlx::ConnectOptions;
    options
        .foreign_keys(true)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(busy::TIMEOUT)
        // A bulk action may take seconds, which is nothing to warn about.
        .disable_statement_logging()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{
        Filter,
        query::list::{Position, Sort},
    };

    /// A second connection reads the schema again, which takes as long as a list.
    #[tokio::test]
    async fn a_dataset_with_one_query_is_opened_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.db");
        Store::create(&path).await.unwrap().close().await;
        let store = Store::open_to_read(&path).await.unwrap();
        let rows = store
            .list(&Filter::default(), Sort::Id, Position::Start, 10)
            .await;
        assert!(rows.unwrap().is_empty());
        assert_eq!(store.pool.size(), 1);
        store.close().await;
    }
}
