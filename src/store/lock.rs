//! One `generate` at a time: two would admit the same rounds. One judge at a time: two would ask the same questions.

use super::{Error, Result, Store};
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Held as long as this process may admit rounds, or judge. The system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct WorkLock {
    path: PathBuf,
    _file: File,
}

impl Store {
    /// Takes the lock, a file beside the dataset.
    ///
    /// # Errors
    ///
    /// [`Error::Generating`] when another process has it; [`Error::CannotCreate`].
    pub fn lock_for_generate(&self) -> Result<WorkLock> {
        self.lock(".lock", |path| Error::Generating { path })
    }

    /// Takes the lock of judges, another file.
    ///
    /// # Errors
    ///
    /// [`Error::Judging`] when another process has it; [`Error::CannotCreate`].
    pub fn lock_for_judge(&self) -> Result<WorkLock> {
        self.lock(".judge.lock", |path| Error::Judging { path })
    }

    fn lock(&self, suffix: &str, taken: impl Fn(PathBuf) -> Error) -> Result<WorkLock> {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        let path = PathBuf::from(path);
        let cannot = |error: std::io::Error| Error::CannotCreate {
            path: path.clone(),
            reason: error.to_string(),
        };
        loop {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .map_err(cannot)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(taken(self.path.clone())),
                Err(TryLockError::Error(error)) => return Err(cannot(error)),
            }
            // The last owner may have removed the file between our opening and our locking it.
            let ours = file.metadata().map_err(cannot)?.ino();
            if std::fs::metadata(&path).is_ok_and(|there| there.ino() == ours) {
                return Ok(WorkLock { path, _file: file });
            }
        }
    }
}

impl Drop for WorkLock {
    fn drop(&mut self) {
        // Still locked here; what cannot be removed does no harm.
        let _ = std::fs::remove_file(&self.path);
    }
}
