//! Ways to open a dataset: to work on it, and to read it where nothing may be written.
//!
//! SQLite reads a file in WAL mode through two files beside it, which it makes where they are missing: in a folder that
//! is read-only, or on a full disk, it cannot. What is read there is one of these, whichever the files ask for:
//!
//! - the file as it stands (`immutable`): there is no write-ahead log, so nobody has it open to write;
//! - with the log and the index that somebody else keeps beside it, who may be writing;
//! - with a log that a writer who crashed left behind: SQLite makes its index in memory, as it does where one program has
//!   the file for itself (`locking_mode = EXCLUSIVE`), and takes no locks (`unix-none`);
//! - of an older ewe's file, a copy in memory that is brought up to date.

use std::{
    fs::Metadata,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use sqlx::{
    Connection, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous},
};

use super::header;
use crate::leave;
use crate::store::{Error, MIGRATIONS, Result, SCHEMA, Store};

/// From this size in bytes on, to bring a file up to date takes long enough to say so.
const LARGE: u64 = 200_000_000;

/// How long a statement waits for another process that is writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the end of a command waits for connections to close.
const CLOSING: Duration = Duration::from_secs(5);

/// The connections of every dataset that was opened, for [`close_all`].
static OPENED: Mutex<Vec<SqlitePool>> = Mutex::new(Vec::new());

/// Closes what was opened and not closed, whichever way a command ended: the last to close a dataset puts the write-ahead
/// log into the file and takes it away.
pub async fn close_all() {
    let opened = std::mem::take(&mut *OPENED.lock().expect("nobody panics with the list"));
    let closing = futures::future::join_all(opened.iter().map(SqlitePool::close));
    // Whoever still has a connection is not waited for: nothing is lost, the next to open the file does it.
    let _ = tokio::time::timeout(CLOSING, closing).await;
}

pub(in crate::store) fn note_opened(pool: &SqlitePool) {
    OPENED
        .lock()
        .expect("nobody panics with the list")
        .push(pool.clone());
}

/// What a file that is only read looked like when it was opened.
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

/// Why nothing is written to a dataset.
#[derive(Debug, Clone)]
pub(in crate::store) struct ReadOnly {
    /// In words.
    reason: String,
    /// Of a file that is read without locks: as it was.
    stamp: Option<Stamp>,
    /// A copy in memory is there as long as somebody is connected to it.
    copy: Option<Arc<Mutex<SqliteConnection>>>,
}

impl ReadOnly {
    /// Whether what is read is a copy in memory.
    pub fn is_copy(&self) -> bool {
        self.copy.is_some()
    }

    /// The error of who would write.
    pub fn refusal(&self, path: &Path) -> Error {
        Error::MayNotWrite {
            path: path.into(),
            reason: self.reason.clone(),
        }
    }

    /// Fails where the file was written to since it was opened: what was read may be of two moments.
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
    /// Opens the dataset at `path` to work on it, and brings its schema up to date when an older `ewe` made it. Never
    /// creates.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::NotAFile`], [`Error::NotADatabase`], [`Error::NotEwe`], [`Error::Newer`], [`Error::CannotOpen`],
    /// [`Error::MayNotWrite`], [`Error::Locked`].
    pub async fn open(path: &Path) -> Result<Store> {
        let metadata = look(path)?;
        match hindrance(path) {
            Some(reason) => {
                // Whether it is a dataset at all is the more important thing to say.
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

    /// Opens the dataset at `path` to read it, also where nothing may be written. Where something may be written it is
    /// brought up to date like by [`Store::open`].
    ///
    /// # Errors
    ///
    /// Like [`Store::open`].
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

    /// Why nothing can be written to it; none where it can.
    pub fn read_only_because(&self) -> Option<&str> {
        Some(self.read_only.as_ref()?.reason.as_str())
    }

    /// Whether nothing can be written to it.
    pub fn is_read_only(&self) -> bool {
        self.read_only.is_some()
    }

    async fn to_write(path: &Path, metadata: &Metadata) -> Result<Store> {
        leave::opened(path);
        // Looking at the header needs no lock that lasts, and must not change a file that is not ours.
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
        let mut found = header::look(&mut *self.acquire().await?, path).await?;
        if found.restored {
            header::restore(&mut *self.acquire().await?, found.schema).await?;
        }
        patiently(async || self.keep_a_log().await).await?;
        if found.schema < SCHEMA && metadata.len() > LARGE {
            tracing::warn!(
                "`{}` was made by an older ewe and is brought up to date first, which takes a minute or two",
                path.display()
            );
        }
        while found.schema < SCHEMA {
            let run = patiently(async || Ok(MIGRATIONS.run(&self.pool).await?)).await;
            // Another process may have been faster, and be between two of them.
            let now = header::look(&mut *self.acquire().await?, path).await?;
            match run {
                Ok(()) => break,
                Err(error) if now.schema == found.schema => return Err(error),
                Err(_) => found = now,
            }
        }
        Ok(())
    }

    /// Makes a file keep a write-ahead log that has none, as a dump and a copy by `vacuum into` have none.
    async fn keep_a_log(&self) -> Result<()> {
        let mode = sqlx::query_scalar::<_, String>("PRAGMA journal_mode");
        if mode.fetch_one(&mut *self.acquire().await?).await? != "wal" {
            let wal = options(&self.path).journal_mode(SqliteJournalMode::Wal);
            SqliteConnection::connect_with(&wal).await?.close().await?;
        }
        Ok(())
    }

    /// Opens a file to which nothing can be written, for this reason.
    async fn only_read(path: &Path, metadata: &Metadata, reason: String) -> Result<Store> {
        let real = real(path);
        let has_log = length(&beside(&real, "-wal")) > 0;
        let has_index = beside(&real, "-shm").exists();
        // A journal that was not rolled back is SQLite's to judge.
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

/// Does something again as long as other processes are in its way, for as long as a statement would wait. SQLite waits by
/// itself for a lock that it has not begun to take, but not where two who read would both write, of whom one must let go: a
/// change of the journal mode is such a case, a migration another.
async fn patiently<T>(mut act: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    const PAUSE: Duration = Duration::from_millis(20);
    let start = Instant::now();
    loop {
        match act().await {
            Err(Error::Locked) if start.elapsed() < BUSY_TIMEOUT => tokio::time::sleep(PAUSE).await,
            done => return done,
        }
    }
}

/// Copies a dataset of this schema into memory and brings the copy up to date there; returns how to connect to it, and a
/// connection that keeps it there.
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

/// What is at `path`, which should be a file with something in it. Nothing else is opened: a pipe waits for somebody who writes.
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
        // All that SQLite has may be in the log still.
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

/// Why nothing can be written to the dataset at `path`, in words; none where it can. The folder counts, too: SQLite keeps
/// files there while a dataset is open.
fn hindrance(path: &Path) -> Option<String> {
    let real = real(path);
    let folder = folder(&real);
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

/// What is in the way of the index that SQLite wants beside a dataset: a disk without room for it. Where it is there already,
/// because somebody has the dataset open, nothing is.
fn no_room(path: &Path) -> Option<String> {
    /// The first part of an index.
    const INDEX: u64 = 32 << 10;
    let real = real(path);
    let room = rustix::fs::statvfs(folder(&real)).ok()?;
    let full = room.f_bavail.saturating_mul(room.f_frsize) < 2 * INDEX;
    (full && length(&beside(&real, "-shm")) < INDEX).then(|| "the disk is full".to_owned())
}

/// The folder that a file is in.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// What large sorts need is memory: a disk that is full, or may not be written to, has no room for their files.
fn to_read(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options.pragma("temp_store", "memory")
}

/// Where the file is once links are followed: SQLite keeps its other files there.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

/// The file that SQLite keeps beside `path`, with this at the end of its name.
pub(in crate::store) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// The length of a file; 0 where there is none.
pub(in crate::store) fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

/// How every connection to a file is set up.
pub(in crate::store) fn options(path: &Path) -> SqliteConnectOptions {
    // A name such as `:memory:` or `file:x` means something else to SQLite, unless a directory precedes it.
    let path = if path.is_relative() {
        Path::new(".").join(path)
    } else {
        path.to_path_buf()
    };
    set_up(SqliteConnectOptions::new().filename(path))
}

/// `synchronous = FULL`, because a paid-for response counts as kept once its commit returns, and in WAL mode `NORMAL` may
/// lose the last commits when the power fails.
fn set_up(options: SqliteConnectOptions) -> SqliteConnectOptions {
    use sqlx::ConnectOptions;
    options
        .foreign_keys(true)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        // A bulk action may take its seconds; that is nothing to warn of.
        .disable_statement_logging()
}
