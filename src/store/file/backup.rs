//! A copy of a dataset that others may be writing to.

use std::{
    fs::{File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use sqlx::{Connection, SqliteConnection, sqlite::SqliteJournalMode};

use super::draft::Scratch;
use super::open::{ReadOnly, options};
use crate::store::{Error, Result, Store};

impl Store {
    /// Copies the dataset, as it is at this moment, to `path`. Others may read and write meanwhile. What they write is
    /// not in the copy. The copy appears whole and on the disk, or not at all.
    ///
    /// # Errors
    ///
    /// [`crate::store::Error::Exists`] when there is something at `path`, [`crate::store::Error::CannotCreate`],
    /// [`crate::store::Error::DiskFull`].
    pub async fn backup(&self, path: &Path) -> Result<()> {
        let scratch = Scratch::begin(path)?;
        let file = scratch.file();
        let cannot = |error: io::Error| Error::CannotCreate {
            path: path.into(),
            reason: error.to_string(),
        };
        // SQLite takes an empty file for a new one, and makes one itself with less than the mask of the process allows.
        let allowed = File::create_new(&file)
            .and_then(|file| file.metadata())
            .map_err(cannot)?
            .permissions()
            .mode();
        let mut name = file.to_string_lossy().into_owned();
        if self.read_only.as_ref().is_some_and(ReadOnly::is_copy) {
            // Otherwise the copy of what is in memory would be there, too.
            let escaped = name.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
            name = format!("file:{escaped}?vfs=unix");
        }
        sqlx::query!("VACUUM INTO ?", name).execute(&self.pool).await?;
        // The copy is made with a rollback journal; readers of a dataset are not to wait for its writers.
        SqliteConnection::connect_with(&options(&file).journal_mode(SqliteJournalMode::Wal))
            .await?
            .close()
            .await?;
        self.check_unchanged()?;
        // Who may not read the dataset may not read its copy; who made the copy may write to it.
        std::fs::metadata(self.path())
            .map(|dataset| Permissions::from_mode((dataset.permissions().mode() & allowed & 0o777) | 0o200))
            .and_then(|permissions| std::fs::set_permissions(&file, permissions))
            .map_err(cannot)?;
        scratch.publish()
    }
}
