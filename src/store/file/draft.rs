//! A dataset that is made in a temporary folder beside its destination, and appears complete or not
//! at all.

use std::{
    fs::Permissions,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use sqlx::{Connection, SqliteConnection, sqlite::SqliteJournalMode};
use tempfile::TempPath;

use crate::atomic_file::{self, scratch};

use super::open::{beside, length, options};
use crate::store::{Error, MIGRATIONS, Result, Store};

/// A temporary file for a new dataset. Dropped before [`DraftFile::publish`], it leaves nothing
/// behind.
#[derive(Debug)]
pub(in crate::store) struct DraftFile {
    directory: scratch::ScratchFolder,
    path: PathBuf,
}

impl DraftFile {
    /// Prepares a file that is to appear at `path`.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] if something is at `path`, [`Error::CannotCreate`].
    pub(in crate::store) fn begin(path: &Path) -> Result<DraftFile> {
        if path.symlink_metadata().is_ok() {
            return Err(Error::Exists { path: path.into() });
        }
        atomic_file::check_new(path).map_err(|_| Error::BesideDataset { path: path.into() })?;
        let directory = scratch::ScratchFolder::beside(path).map_err(|error| cannot_create(path, error))?;
        Ok(DraftFile {
            directory,
            path: path.into(),
        })
    }

    /// Returns the path where the file is made.
    pub(in crate::store) fn file(&self) -> PathBuf {
        self.directory.path().join("dataset")
    }

    /// Moves the file to its path, complete and on disk.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] if another process was faster, [`Error::CannotCreate`];
    /// [`Error::DiskFull`] if the file is incomplete.
    pub(in crate::store) fn publish(self) -> Result<()> {
        check_whole(&self.file())?;
        let DraftFile { directory, path } = self;
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

/// Fails if the last connection could not put everything into the file. SQLite reports no errors of
/// closing and leaves the rest in the write-ahead log, which is not moved along with the file.
fn check_whole(file: &Path) -> Result<()> {
    let not_whole = |what: &str| Error::DiskFull {
        reason: what.to_owned(),
    };
    if length(&beside(file, "-wal")) > 0 || length(&beside(file, "-journal")) > 0 {
        return Err(not_whole("what was written is not all in the file"));
    }
    // <https://www.sqlite.org/fileformat.html#the_database_header>: the page size at 16, the page
    // count at 28.
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

/// A new dataset that is filled before anybody sees it. Dropped before [`Draft::publish`], it
/// leaves nothing behind.
#[derive(Debug)]
pub struct Draft {
    store: Store,
    scratch: DraftFile,
}

impl Draft {
    /// Starts a dataset that is to appear at `path`.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] if something is at `path`, [`Error::CannotCreate`], [`Error::DiskFull`].
    pub async fn begin(path: &Path) -> Result<Draft> {
        let scratch = DraftFile::begin(path)?;
        let file = scratch.file();
        // The journal mode stays in the file, so that later connections need not set it.
        let wal = options(&file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal);
        let mut connection = SqliteConnection::connect_with(&wal).await?;
        MIGRATIONS.run(&mut connection).await?;
        connection.close().await?;
        let store = Store::connect(&file, options(&file), None).await?;
        Ok(Draft { store, scratch })
    }

    /// Starts a dataset that is to appear at `path` with a copy of the one at `source`, as it is
    /// now. Nothing changes there.
    ///
    /// # Errors
    ///
    /// As [`Draft::begin`], and those of reading `source`.
    pub(in crate::store) async fn copy_of(path: &Path, source: &Path) -> Result<Draft> {
        let scratch = DraftFile::begin(path)?;
        let file = scratch.file();
        let mode = Store::copy_unchanged(source, &file).await?;
        std::fs::set_permissions(&file, Permissions::from_mode(mode))
            .map_err(|error| cannot_create(path, error))?;
        let store = Store::connect(&file, options(&file), None).await?;
        Ok(Draft { store, scratch })
    }

    /// Returns the dataset to fill.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Moves it to its path, complete, and opens it.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] if another process was faster, [`Error::CannotCreate`].
    pub async fn publish(self) -> Result<Store> {
        let Draft { store, scratch } = self;
        store.close().await;
        let path = scratch.path.clone();
        scratch.publish()?;
        Store::open(&path).await
    }
}
