//! A copy of a dataset that others may be writing to.

use std::{
    fs::{File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use sqlx::{Connection, SqliteConnection, sqlite::SqliteJournalMode};

use super::draft::DraftFile;
use super::open::{ReadOnly, options};
use crate::store::{Error, Result, Store};

impl Store {
    /// Copies the dataset, as it is now, to `path`. Others may read and write meanwhile; what they
    /// write is not in the copy. The copy appears complete and on disk, or not at all.
    ///
    /// # Errors
    ///
    /// [`crate::store::Error::Exists`] if something is at `path`,
    /// [`crate::store::Error::CannotCreate`], [`crate::store::Error::DiskFull`].
    pub async fn backup(&self, path: &Path) -> Result<()> {
        let scratch = DraftFile::begin(path)?;
        let file = scratch.file();
        let mode = self.copy_to(&file, path).await?;
        // The copy is made with a rollback journal, in which readers would wait for writers.
        SqliteConnection::connect_with(&options(&file).journal_mode(SqliteJournalMode::Wal))
            .await?
            .close()
            .await?;
        self.check_unchanged()?;
        std::fs::set_permissions(&file, Permissions::from_mode(mode)).map_err(|error| cannot(path, error))?;
        scratch.publish()
    }

    /// Copies the dataset at `path`, as it is now, to `file`, which must not exist, and brings the
    /// copy up to date. Nothing changes at `path`. Returns the permissions that the copy should
    /// have.
    ///
    /// # Errors
    ///
    /// Those of reading `path`; [`Error::CannotCreate`], [`Error::DiskFull`].
    pub(in crate::store) async fn copy_unchanged(path: &Path, file: &Path) -> Result<u32> {
        let store = Store::open_to_copy(path).await?;
        let copied = store.copy_to(file, file).await;
        let finished = store.finish().await;
        let mode = copied?;
        finished?;
        Store::open(file).await?.close().await;
        Ok(mode)
    }

    /// Copies the dataset to `file`; errors name `path`. Returns the permissions that the copy
    /// should have: whoever may not read the dataset may not read its copy, and whoever made the
    /// copy may write to it.
    async fn copy_to(&self, file: &Path, path: &Path) -> Result<u32> {
        // SQLite takes an empty file for a new one. Left to itself, it gives less than the umask
        // allows.
        let allowed = File::create_new(file)
            .and_then(|file| file.metadata())
            .map_err(|error| cannot(path, error))?
            .permissions()
            .mode();
        let mut name = file.to_string_lossy().into_owned();
        if self.read_only.as_ref().is_some_and(ReadOnly::is_copy) {
            // Otherwise a copy in memory would be copied to memory, too.
            let escaped = name.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
            name = format!("file:{escaped}?vfs=unix");
        }
        sqlx::query!("VACUUM INTO ?", name).execute(&self.pool).await?;
        let dataset = std::fs::metadata(self.path()).map_err(|error| cannot(path, error))?;
        Ok((dataset.permissions().mode() & allowed & 0o777) | 0o200)
    }
}

fn cannot(path: &Path, error: io::Error) -> Error {
    Error::CannotCreate {
        path: path.into(),
        reason: error.to_string(),
    }
}
