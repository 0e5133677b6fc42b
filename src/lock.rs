//! File locks: one process at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::leave::{self, registry};

/// The endings of the lock files beside a dataset: of generate, judge, import and
/// evaluations.
pub const DATASET_ENDINGS: [&str; 4] = [".lock", ".judge.lock", ".import.lock", ".eval.lock"];

/// An exclusively locked file. It is removed when the lock is dropped or a signal ends the process.
/// A killed process leaves the file unlocked, and the next process takes it over.
#[derive(Debug)]
pub struct FileLock {
    path: PathBuf,
    _file: File,
}

impl FileLock {
    /// Takes the lock at `path`. Returns `None` if another process, or another part of this one,
    /// holds it.
    ///
    /// # Errors
    ///
    /// When the file can be neither made nor opened, or its file system has no locks.
    pub fn take(path: &Path) -> io::Result<Option<FileLock>> {
        FileLock::take_with_folder(path, false)
    }

    /// Takes the lock at `path` like [`FileLock::take`]. With `has_own_folder`, the folder was made
    /// for the lock: when a signal ends the process, it is removed with the lock if nothing else is
    /// in it.
    pub fn take_with_folder(path: &Path, has_own_folder: bool) -> io::Result<Option<FileLock>> {
        leave::on_signals();
        loop {
            // A signal that arrives now waits until the lock is registered.
            let mut held = registry::lock_files();
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
            // The last owner may have removed the file after we opened and before we locked it.
            let ours = file.metadata()?.ino();
            if fs::metadata(path).is_ok_and(|there| there.ino() == ours) {
                let path = path.to_owned();
                held.insert(path.clone(), has_own_folder);
                return Ok(Some(FileLock { path, _file: file }));
            }
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        let mut held = registry::lock_files();
        // Still locked here. A file that cannot be removed does no harm.
        let _ = fs::remove_file(&self.path);
        held.remove(&self.path);
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
