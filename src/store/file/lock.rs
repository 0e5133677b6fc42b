//! Locks for work that only one process may do at a time: two `generate` would admit the same
//! rounds, two judges or evaluations ask the same questions, two imports add the same rows. The
//! holder of a lock knows that no other run of its kind is alive.

use crate::lock::{DATASET_ENDINGS, FileLock};
use crate::store::{Error, Result, Store};
use std::path::PathBuf;

/// Work that only one process at a time does on a dataset.
#[derive(Debug, Clone, Copy)]
enum Work {
    Generate,
    Judge,
    Import,
    Evaluate,
}

impl Work {
    /// Returns the command of its runs.
    fn command(self) -> &'static str {
        match self {
            Work::Generate => "generate",
            Work::Judge => "judge",
            Work::Import => "import",
            Work::Evaluate => "eval",
        }
    }
}

/// The lock for admitting rounds, judging, importing or evaluating. The system releases it when the
/// process ends, however that happens.
#[derive(Debug)]
pub struct WorkLock {
    _lock: FileLock,
}

impl Store {
    /// Takes the lock of `generate`, a file beside the dataset. A run that was killed while it held
    /// the lock is recorded as interrupted.
    ///
    /// # Errors
    ///
    /// [`Error::Generating`] if another process holds it; [`Error::CannotCreate`].
    pub async fn lock_for_generate(&self) -> Result<WorkLock> {
        self.lock(Work::Generate, |path| Error::Generating { path }).await
    }

    /// Takes the lock of judges, another file, like [`Store::lock_for_generate`].
    ///
    /// # Errors
    ///
    /// [`Error::Judging`] if another process holds it; [`Error::CannotCreate`].
    pub async fn lock_for_judge(&self) -> Result<WorkLock> {
        self.lock(Work::Judge, |path| Error::Judging { path }).await
    }

    /// Takes the lock of imports, another file, like [`Store::lock_for_generate`].
    ///
    /// # Errors
    ///
    /// [`Error::Importing`] if another process holds it; [`Error::CannotCreate`].
    pub async fn lock_for_import(&self) -> Result<WorkLock> {
        self.lock(Work::Import, |path| Error::Importing { path }).await
    }

    /// Takes the lock of evaluations, another file, like [`Store::lock_for_generate`].
    ///
    /// # Errors
    ///
    /// [`Error::Evaluating`] if another process holds it; [`Error::CannotCreate`].
    pub async fn lock_for_evaluation(&self) -> Result<WorkLock> {
        self.lock(Work::Evaluate, |path| Error::Evaluating { path }).await
    }

    async fn lock(&self, work: Work, taken: impl Fn(PathBuf) -> Error) -> Result<WorkLock> {
        let mut path = self.path.clone().into_os_string();
        // The array is in the order of `Work`, so no lock is missing there.
        path.push(DATASET_ENDINGS[work as usize]);
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
