//! One process at a time: a file that is locked as long as its holder runs.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file that this process alone has. It goes when the lock is let go of; a process that dies leaves the file, unlocked, and the next
/// one takes it over.
#[derive(Debug)]
pub struct FileLock {
    path: PathBuf,
    _file: File,
}

impl FileLock {
    /// Takes the lock at `path`. None where another process, or another holder in this one, has it.
    ///
    /// # Errors
    ///
    /// When the file can be neither made nor opened, or its file system has no locks.
    pub fn take(path: &Path) -> io::Result<Option<FileLock>> {
        loop {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // The last owner may have removed the file between our opening and our locking it.
            let ours = file.metadata()?.ino();
            if std::fs::metadata(path).is_ok_and(|there| there.ino() == ours) {
                let path = path.to_owned();
                return Ok(Some(FileLock { path, _file: file }));
            }
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Still locked here; what cannot be removed does no harm.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_and_what_the_dead_left_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        std::fs::write(&path, "left by a process that was killed").unwrap();
        let held = FileLock::take(&path).unwrap().expect("nobody has it");
        assert!(FileLock::take(&path).unwrap().is_none());
        drop(held);
        assert!(!path.exists());
        assert!(FileLock::take(&path).unwrap().is_some());
        let error = FileLock::take(&dir.path().join("missing/lock")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
