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
        let cannot = |error: io::Error| Error::CannotCreate {
            path: path.into(),
            reason: error.to_string(),
        };
        // SQLite takes an empty file for a new one. Left to itself, it gives less than the umask
        // allows.
        let allowed = File::create_new(&file)
            .and_then(|file| file.metadata())
            .map_err(cannot)?
            .permissions()
            .mode();
        let mut name = file.to_string_lossy().into_owned();
        if self.read_only.as_ref().is_some_and(ReadOnly::is_copy) {
            // Otherwise a copy in memory would be copied to memory, too.
            let escaped = name.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
            name = format!("file:{escaped}?vfs=unix");
        }
        sqlx::query!("VACUUM INTO ?", name).execute(&self.pool).await?;
        // The copy is made with a rollback journal, in which readers would wait for writers.
        SqliteConnection::connect_with(&options(&file).journal_mode(SqliteJournalMode::Wal))
            .await?
            .close()
            .await?;
        self.check_unchanged()?;
        // Whoever may not read the dataset may not read its copy; whoever made the copy may write
        // to it.
        std::fs::metadata(self.path())
            .map(|dataset| Permissions::from_mode((dataset.permissions().mode() & allowed & 0o777) | 0o200))
            .and_then(|permissions| std::fs::set_permissions(&file, permissions))
            .map_err(cannot)?;
        scratch.publish()
    }
}
