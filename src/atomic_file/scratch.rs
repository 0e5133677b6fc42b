//! Folders for what is not finished yet, beside where it will be. Nobody else can look into one; it is locked as long as
//! its process lives, and what a killed process left is removed by the next one that writes to the same place.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::signals;

/// What the names of all of them begin with.
const PREFIX: &str = ".ewe-tmp-";

/// Whether an entry of a directory has the name of one. Whoever it is of, it is nothing to stay.
pub fn is_named(name: &OsStr) -> bool {
    name.to_string_lossy().starts_with(PREFIX)
}

/// Those of this process.
static OURS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn ours() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    OURS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A folder that is gone when this is dropped, when a signal ends the process, or, at the latest, with the next run.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    /// None where the file system knows no locks; then nobody dares to sweep, either.
    _lock: Option<File>,
}

impl Scratch {
    /// Makes one in the directory that `target` is or will be in, so that a file can be renamed from here to there.
    ///
    /// # Errors
    ///
    /// What the system says; the path is not in it.
    pub fn beside(target: &Path) -> io::Result<Scratch> {
        Scratch::within(super::parent(target))
    }

    /// Makes one in this directory.
    ///
    /// # Errors
    ///
    /// What the system says; the path is not in it.
    pub fn within(directory: &Path) -> io::Result<Scratch> {
        signals::watch();
        sweep(directory);
        loop {
            // A signal that comes now waits until the folder is known.
            let mut ours = ours();
            let path = make(directory)?;
            match locked(&path) {
                Locked::Held(lock) => {
                    ours.insert(path.clone());
                    return Ok(Scratch { path, _lock: lock });
                }
                // Somebody's sweep was faster than our lock.
                Locked::Swept => {}
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut ours = ours();
        // What cannot be removed now, the next run removes.
        let _ = fs::remove_dir_all(&self.path);
        ours.remove(&self.path);
    }
}

/// Removes all that this process has not finished. Whoever wants to begin something new waits as long as the result is held.
#[must_use]
pub(crate) fn remove_all() -> impl Drop {
    let ours = ours();
    for path in ours.iter() {
        // Somebody may be making a file in it just now.
        (0..10).find(|_| fs::remove_dir_all(path).is_ok() || !path.exists());
    }
    ours
}

enum Locked {
    Held(Option<File>),
    Swept,
}

fn locked(path: &Path) -> Locked {
    let Ok(folder) = File::open(path) else {
        return Locked::Swept;
    };
    match folder.try_lock() {
        Ok(()) if is_at(&folder, path) => Locked::Held(Some(folder)),
        Ok(()) | Err(TryLockError::WouldBlock) => Locked::Swept,
        Err(TryLockError::Error(_)) => Locked::Held(None),
    }
}

fn is_at(folder: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let (Ok(open), Ok(there)) = (folder.metadata(), fs::symlink_metadata(path)) else {
        return false;
    };
    identity(open) == identity(there)
}

/// Removes the folders of processes that are no more. They hold their lock as long as they live, whatever their number.
fn sweep(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_folder || !is_named(&entry.file_name()) {
            continue;
        }
        if let Ok(folder) = File::open(entry.path())
            && folder.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Makes a folder with a name that nobody has. The folder is made here and not by `tempfile`, in whose errors is a path that
/// nobody knows, in place of the system's number.
fn make(directory: &Path) -> io::Result<PathBuf> {
    let made = tempfile::Builder::new()
        .prefix(PREFIX)
        .make_in(directory, |path| DirBuilder::new().mode(0o700).create(path))?;
    made.into_temp_path().keep().map_err(|kept| kept.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(directory: &Path) -> usize {
        fs::read_dir(directory).unwrap().count()
    }

    #[test]
    fn what_dead_processes_left_goes_and_what_living_ones_need_stays() {
        let directory = tempfile::tempdir().unwrap();
        let old = directory.path().join(".ewe-tmp-killed");
        fs::create_dir(&old).unwrap();
        fs::write(old.join("file"), "half a file").unwrap();
        // Not ours, whatever its name.
        fs::write(directory.path().join(".ewe-tmp-notes"), "a file").unwrap();
        fs::create_dir(directory.path().join(".ewe")).unwrap();
        let one = Scratch::within(directory.path()).unwrap();
        assert!(!old.exists() && one.path().is_dir());
        let other = Scratch::within(directory.path()).unwrap();
        assert!(one.path().is_dir() && other.path().is_dir());
        drop((one, other));
        assert_eq!(left(directory.path()), 2);
    }

    #[test]
    fn errors_name_no_path_that_nobody_knows() {
        let directory = tempfile::tempdir().unwrap();
        let error = Scratch::within(&directory.path().join("missing")).unwrap_err();
        assert_eq!(error.to_string(), "No such file or directory (os error 2)");
    }
}
