//! What must not stay behind when the process ends at once: its temporary folders, its lock files,
//! and the datasets that it has open. Their owners enter them here; [`super::at_once`] reads them.
//!
//! Each list has a mutex of its own, which an owner holds while it makes or removes the file. So a
//! signal that arrives in between waits until the list is true again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A dataset that is open for writing.
pub(crate) struct OpenDataset {
    pub path: PathBuf,
    /// Runs of this process that have not ended.
    pub runs: BTreeSet<i64>,
}

static SCRATCH_FOLDERS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
static LOCK_FILES: Mutex<BTreeMap<PathBuf, bool>> = Mutex::new(BTreeMap::new());
static DATASETS: Mutex<Vec<OpenDataset>> = Mutex::new(Vec::new());

/// Returns the temporary folders of this process.
pub(crate) fn scratch_folders() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    SCRATCH_FOLDERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the locks that this process holds, each with whether its folder was made for it.
pub(crate) fn lock_files() -> MutexGuard<'static, BTreeMap<PathBuf, bool>> {
    LOCK_FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the datasets that this process has open for writing.
pub(super) fn datasets() -> MutexGuard<'static, Vec<OpenDataset>> {
    DATASETS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes all temporary folders. While the result is held, nobody can make a new one.
#[must_use]
pub(super) fn remove_scratch_folders() -> impl Drop {
    let folders = scratch_folders();
    for path in folders.iter() {
        // Another thread may be making a file in it at this moment.
        (0..10).find(|_| fs::remove_dir_all(path).is_ok() || !path.exists());
    }
    folders
}

/// Removes all lock files. While the result is held, nobody can take or release a lock.
#[must_use]
pub(super) fn remove_lock_files() -> impl Drop {
    let files = lock_files();
    for (path, has_own_folder) in files.iter() {
        let _ = fs::remove_file(path);
        if let (true, Some(folder)) = (has_own_folder, path.parent()) {
            let _ = fs::remove_dir(folder);
        }
    }
    files
}
