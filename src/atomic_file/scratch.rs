//! Temporary folders for unfinished files, beside their destination. Only the owner can look into
//! one. It is locked as long as its process lives; leftovers of a killed process are removed by the
//! next one that writes to the same place.

use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use crate::leave::{self, registry};

/// The beginning of every scratch folder's name.
const PREFIX: &str = ".ewe-tmp-";

/// Whether a directory entry is named like a scratch folder of any process, which never stays.
pub fn is_named(name: &OsStr) -> bool {
    name.to_string_lossy().starts_with(PREFIX)
}

/// A temporary folder. It is removed when this is dropped, when a signal ends the process, or at
/// the latest by the next run.
#[derive(Debug)]
pub struct ScratchFolder {
    path: PathBuf,
    /// `None` if the file system has no locks; then nobody sweeps either.
    _lock: Option<File>,
}

impl ScratchFolder {
    /// Makes one in the directory of `target`, so that a file can be renamed from here to there.
    ///
    /// # Errors
    ///
    /// The system's error, without a path.
    pub fn beside(target: &Path) -> io::Result<ScratchFolder> {
        ScratchFolder::within(super::parent(target))
    }

    /// Makes one in this directory.
    ///
    /// # Errors
    ///
    /// The system's error, without a path.
    pub fn within(directory: &Path) -> io::Result<ScratchFolder> {
        leave::on_signals();
        sweep(directory);
        loop {
            // A signal that arrives now waits until the folder is registered.
            let mut ours = registry::scratch_folders();
            let path = make(directory)?;
            match locked(&path) {
                Locked::Held(lock) => {
                    ours.insert(path.clone());
                    return Ok(ScratchFolder { path, _lock: lock });
                }
                // Another process swept it before we locked it.
                Locked::Swept => {}
            }
        }
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        let mut ours = registry::scratch_folders();
        // The next run removes what cannot be removed now.
        let _ = fs::remove_dir_all(&self.path);
        ours.remove(&self.path);
    }
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

/// Removes the folders of dead processes. A living process holds its lock, whatever its process
/// number.
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

/// Makes a folder with a unique name. It is made here and not by `tempfile`, whose errors have a
/// path that nobody knows in place of the system's error number.
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
        let one = ScratchFolder::within(directory.path()).unwrap();
        assert!(!old.exists() && one.path().is_dir());
        let other = ScratchFolder::within(directory.path()).unwrap();
        assert!(one.path().is_dir() && other.path().is_dir());
        drop((one, other));
        assert_eq!(left(directory.path()), 2);
    }

    #[test]
    fn errors_name_no_path_that_nobody_knows() {
        let directory = tempfile::tempdir().unwrap();
        let error = ScratchFolder::within(&directory.path().join("missing")).unwrap_err();
        assert_eq!(error.to_string(), "No such file or directory (os error 2)");
    }
}
