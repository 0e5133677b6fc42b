//! One `generate` at a time: two would admit the same rounds. One judge at a time: two would ask
//! the same questions. One import at a time: two would bring the same rows. Whoever has a lock
//! knows that no other run of its kind goes on.

use crate::lock::FileLock;
use crate::store::{Error, Result, Store};
use std::path::PathBuf;

/// What one process at a time does on a dataset.
#[derive(Debug, Clone, Copy)]
enum Work {
    Generate,
    Judge,
    Import,
}

impl Work {
    /// What its runs are called.
    fn command(self) -> &'static str {
        match self {
            Work::Generate => "generate",
            Work::Judge => "judge",
            Work::Import => "import",
        }
    }
}

/// The locks of a dataset, files beside it, by what their names have more: in the order of
/// [`Work`], which finds its own here, so that there is no lock that others do not know of.
pub(crate) const ENDINGS: [&str; 3] = [".lock", ".judge.lock", ".import.lock"];

/// Held as long as this process may admit rounds, judge, or import. The system lets go of it when
/// the process ends, however it ends.
#[derive(Debug)]
pub struct WorkLock {
    _lock: FileLock,
}

impl Store {
    /// Takes the lock, a file beside the dataset. A run that was killed while it had the lock is
    /// noted as interrupted.
    ///
    /// # Errors
    ///
    /// [`Error::Generating`] when another process has it; [`Error::CannotCreate`].
    pub async fn lock_for_generate(&self) -> Result<WorkLock> {
        self.lock(Work::Generate, |path| Error::Generating { path }).await
    }

    /// Takes the lock of judges, another file, like [`Store::lock_for_generate`].
    ///
    /// # Errors
    ///
    /// [`Error::Judging`] when another process has it; [`Error::CannotCreate`].
    pub async fn lock_for_judge(&self) -> Result<WorkLock> {
        self.lock(Work::Judge, |path| Error::Judging { path }).await
    }

    /// Takes the lock of imports, another file, like [`Store::lock_for_generate`].
    ///
    /// # Errors
    ///
    /// [`Error::Importing`] when another process has it; [`Error::CannotCreate`].
    pub async fn lock_for_import(&self) -> Result<WorkLock> {
        self.lock(Work::Import, |path| Error::Importing { path }).await
    }

    async fn lock(&self, work: Work, taken: impl Fn(PathBuf) -> Error) -> Result<WorkLock> {
        let mut path = self.path.clone().into_os_string();
        path.push(ENDINGS[work as usize]);
        let path = PathBuf::from(path);
        let lock = match FileLock::take(&path) {
            Ok(Some(lock)) => lock,
            Ok(None) => return Err(taken(self.path.clone())),
            Err(error) => {
                return Err(Error::CannotCreate {
                    path,
                    reason: error.to_string(),
                });
            }
        };
        self.note_killed(work.command(), None).await?;
        Ok(WorkLock { _lock: lock })
    }
}
