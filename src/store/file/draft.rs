//! A dataset that is made under another name, beside where it will be, and appears whole or not at all.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use sqlx::{Connection, SqliteConnection, sqlite::SqliteJournalMode};
use tempfile::TempPath;

use crate::atomic_file::{self, scratch};

use super::open::{beside, length, options};
use crate::store::{Error, MIGRATIONS, Result, Store};

/// A place for a file on its way. Dropped before [`Scratch::publish`], it leaves nothing behind.
#[derive(Debug)]
pub(in crate::store) struct Scratch {
    directory: scratch::Scratch,
    path: PathBuf,
}

impl Scratch {
    /// Makes room for a file that is to appear at `path`.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] when there is something at `path`, [`Error::CannotCreate`].
    pub(in crate::store) fn begin(path: &Path) -> Result<Scratch> {
        if path.symlink_metadata().is_ok() {
            return Err(Error::Exists { path: path.into() });
        }
        atomic_file::check_new(path).map_err(|_| Error::BesideDataset { path: path.into() })?;
        let directory = scratch::Scratch::beside(path).map_err(|error| cannot_create(path, error))?;
        Ok(Scratch {
            directory,
            path: path.into(),
        })
    }

    /// Where the file is made.
    pub(in crate::store) fn file(&self) -> PathBuf {
        self.directory.path().join("dataset")
    }

    /// Makes the file appear at its path, whole and on the disk.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] when somebody was faster, [`Error::CannotCreate`]; [`Error::DiskFull`] when the file is not whole.
    pub(in crate::store) fn publish(self) -> Result<()> {
        check_whole(&self.file())?;
        let Scratch { directory, path } = self;
        let file = directory.path().join("dataset");
        let cannot = |error| cannot_create(&path, error);
        std::fs::File::open(&file)
            .and_then(|file| file.sync_all())
            .map_err(cannot)?;
        let file = TempPath::try_from_path(file).map_err(cannot)?;
        file.persist_noclobber(&path)
            .map_err(|failed| match failed.error.kind() {
                std::io::ErrorKind::AlreadyExists => Error::Exists { path: path.clone() },
                _ => cannot(failed.error),
            })?;
        if let Some(parent) = directory.path().parent() {
            std::fs::File::open(parent)
                .and_then(|parent| parent.sync_all())
                .map_err(cannot)?;
        }
        Ok(())
    }
}

/// Fails when the last connection could not put everything into the file: SQLite says nothing of what goes wrong when it
/// closes, and leaves the rest in the write-ahead log, which does not come along when the file is renamed.
fn check_whole(file: &Path) -> Result<()> {
    let not_whole = |what: &str| Error::DiskFull {
        reason: what.to_owned(),
    };
    if length(&beside(file, "-wal")) > 0 || length(&beside(file, "-journal")) > 0 {
        return Err(not_whole("what was written is not all in the file"));
    }
    // <https://www.sqlite.org/fileformat.html#the_database_header>: the size of a page at 16, their number at 28.
    let mut header = [0; 32];
    let read = std::fs::File::open(file).and_then(|mut file| file.read_exact(&mut header));
    let page = match u64::from(u16::from_be_bytes([header[16], header[17]])) {
        1 => 65_536,
        bytes => bytes,
    };
    let pages = u64::from(u32::from_be_bytes([
        header[28], header[29], header[30], header[31],
    ]));
    if read.is_err() || pages == 0 || length(file) != page * pages {
        return Err(not_whole("the file is shorter than it says"));
    }
    Ok(())
}

fn cannot_create(path: &Path, error: std::io::Error) -> Error {
    Error::CannotCreate {
        path: path.into(),
        reason: atomic_file::with_way_out(&error),
    }
}

/// A new dataset that is to be filled before anybody sees it. Dropped before [`Draft::publish`], it leaves nothing
/// behind.
#[derive(Debug)]
pub struct Draft {
    store: Store,
    scratch: Scratch,
}

impl Draft {
    /// Starts a dataset that is to appear at `path`.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] when there is something at `path`, [`Error::CannotCreate`], [`Error::DiskFull`].
    pub async fn begin(path: &Path) -> Result<Draft> {
        let scratch = Scratch::begin(path)?;
        let file = scratch.file();
        // A connection of its own: the journal mode stays in the file, and later connections need not ask for it.
        let wal = options(&file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal);
        let mut connection = SqliteConnection::connect_with(&wal).await?;
        MIGRATIONS.run(&mut connection).await?;
        connection.close().await?;
        let store = Store::connect(&file, options(&file), None).await?;
        Ok(Draft { store, scratch })
    }

    /// The dataset, to be filled.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Makes it appear at its path, whole, and opens it.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] when somebody was faster, [`Error::CannotCreate`].
    pub async fn publish(self) -> Result<Store> {
        let Draft { store, scratch } = self;
        store.close().await;
        let path = scratch.path.clone();
        scratch.publish()?;
        Store::open(&path).await
    }
}
