//! One `generate` at a time: two would admit the same rounds. One judge at a time: two would ask the same questions. One
//! import at a time: two would bring the same rows.

use super::{Error, Result, Store};
use crate::lock::FileLock;
use std::path::PathBuf;

/// Held as long as this process may admit rounds, or judge. The system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct WorkLock {
    _lock: FileLock,
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

    /// Takes the lock of imports, another file.
    ///
    /// # Errors
    ///
    /// [`Error::Importing`] when another process has it; [`Error::CannotCreate`].
    pub fn lock_for_import(&self) -> Result<WorkLock> {
        self.lock(".import.lock", |path| Error::Importing { path })
    }

    fn lock(&self, suffix: &str, taken: impl Fn(PathBuf) -> Error) -> Result<WorkLock> {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        let path = PathBuf::from(path);
        match FileLock::take(&path) {
            Ok(Some(lock)) => Ok(WorkLock { _lock: lock }),
            Ok(None) => Err(taken(self.path.clone())),
            Err(error) => Err(Error::CannotCreate {
                path,
                reason: error.to_string(),
            }),
        }
    }
}
