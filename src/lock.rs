//! One process at a time: a file that is locked as long as its holder runs.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::signals;

/// Those that this process holds, and whether the folder of each was made for it.
static HELD: Mutex<BTreeMap<PathBuf, bool>> = Mutex::new(BTreeMap::new());

fn held() -> MutexGuard<'static, BTreeMap<PathBuf, bool>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that this process alone has. It goes when the lock is let go of, or a signal ends the
/// process; a process that is killed leaves the file, unlocked, and the next one takes it over.
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
        signals::watch();
        loop {
            // A signal that comes now waits until the lock is known.
            let mut held = held();
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
            if fs::metadata(path).is_ok_and(|there| there.ino() == ours) {
                let path = path.to_owned();
                held.insert(path.clone(), false);
                return Ok(Some(FileLock { path, _file: file }));
            }
        }
    }

    /// Its folder was made for it, and goes with it when a signal ends the process, if nothing else
    /// is in it.
    pub fn has_a_new_folder(&self) {
        held().insert(self.path.clone(), true);
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        let mut held = held();
        // Still locked here; what cannot be removed does no harm.
        let _ = fs::remove_file(&self.path);
        held.remove(&self.path);
    }
}

/// Removes the files of all locks of this process. Whoever wants to take one, or let go of one,
/// waits as long as the result is held.
#[must_use]
pub(crate) fn remove_all() -> impl Drop {
    let held = held();
    for (path, is_alone) in held.iter() {
        let _ = fs::remove_file(path);
        if let (true, Some(folder)) = (is_alone, path.parent()) {
            let _ = fs::remove_dir(folder);
        }
    }
    held
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
