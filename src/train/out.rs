//! The folder of a result, which one process writes at a time: [`OutFolder`] fills as a run
//! proceeds, [`NewFolder`] appears when it is complete.

pub mod checkpoint;
pub mod events;
pub mod files;
pub mod finished;
pub mod gguf;
pub mod merge;
pub mod metrics;
pub mod rank_log;
pub mod repeat;
pub mod save;
pub mod save_interval;
pub mod saved_template;
pub mod snapshot;
pub mod writer;

pub use snapshot::host_bytes;

use anyhow::{Context, Result, bail};
use ewe::atomic_file::folder::Folder;
use ewe::atomic_file::{self, scratch};
use ewe::lock::FileLock;
use std::ffi::OsStr;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

/// File in which a run records itself when it begins.
pub const RECORD: &str = "run.json";

/// Returns whether `out` is the folder of a run.
pub fn is_run(out: &Path) -> bool {
    out.join(RECORD).is_file()
}

/// Lock file in the folder. A killed process leaves it behind, unlocked; it does not count as
/// content.
const LOCK: &str = ".lock";

/// A folder locked for this process. If it was made for this run and nothing was written, it is
/// removed at the end.
#[derive(Debug)]
pub struct OutFolder {
    path: PathBuf,
    made: bool,
    /// None if the file system has no locks.
    lock: Option<FileLock>,
}

impl OutFolder {
    /// Makes the folder, or checks that it is empty, for a new run.
    pub fn of_run(path: &Path) -> Result<OutFolder> {
        OutFolder::empty(
            path,
            match is_run(path) {
                true => "another --out, or --resume to continue the run in it",
                false => "another --out",
            },
        )
    }

    /// Locks the folder of a run to resume, which may be empty.
    pub fn of_resumed(path: &Path) -> Result<OutFolder> {
        if !path.try_exists().with_context(|| cannot_use(path))? {
            bail!(
                "there is nothing to resume: {} does not exist\nhint: leave --resume away",
                path.display()
            );
        }
        let folder = OutFolder::lock(path)?;
        if has_content(path)? && !is_run(path) {
            bail!(
                "{} is not the result of a run\nhint: another --out",
                path.display()
            );
        }
        Ok(folder)
    }

    fn empty(path: &Path, hint: &str) -> Result<OutFolder> {
        let folder = OutFolder::lock(path)?;
        match has_content(path)? {
            true => bail!("{} is not empty\nhint: {hint}", path.display()),
            false => Ok(folder),
        }
    }

    fn lock(path: &Path) -> Result<OutFolder> {
        loop {
            let made = atomic_file::make_folder(path)?;
            let lock = match FileLock::take_with_folder(&path.join(LOCK), made) {
                Ok(Some(lock)) => Some(lock),
                Ok(None) => bail!(
                    "another process is writing to {}\nhint: wait until it has ended, or another --out",
                    path.display()
                ),
                Err(error) if error.kind() == ErrorKind::Unsupported => None,
                // The process that made the folder had nothing to write and removed it.
                Err(error) if error.kind() == ErrorKind::NotFound && !path.exists() => continue,
                Err(error) => return Err(error).with_context(|| cannot_use(path)),
            };
            return Ok(OutFolder {
                path: path.to_owned(),
                made,
                lock,
            });
        }
    }
}

impl Drop for OutFolder {
    fn drop(&mut self) {
        drop(self.lock.take());
        if self.made {
            // Fails, as it should, if something was written.
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}

/// A folder that appears at its path once it is complete. If an empty folder is there already, it
/// is filled at the end.
#[derive(Debug)]
pub struct NewFolder {
    folder: Folder,
    /// The empty folder that is there already.
    _standing: Option<OutFolder>,
}

impl NewFolder {
    /// Begins a folder that will be at `path`. Fails if something is there.
    pub fn begin(path: &Path) -> Result<NewFolder> {
        let standing = match path.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            _ => Some(OutFolder::empty(path, "another --out")?),
        };
        Ok(NewFolder {
            folder: Folder::begin(path)?,
            _standing: standing,
        })
    }

    /// Completes the folder: `write` fills the directory that it is given. Files whose names are
    /// `last` are moved to their place after all others. Errors name the final path.
    pub fn fill(self, last: impl Fn(&OsStr) -> bool, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        write(self.folder.path()).map_err(|error| self.folder.told(&error))?;
        self.folder.commit(last)
    }
}

fn cannot_use(path: &Path) -> String {
    format!("cannot use {} as --out", path.display())
}

fn has_content(path: &Path) -> Result<bool> {
    let mut entries = std::fs::read_dir(path).with_context(|| cannot_use(path))?;
    let is_content = |name: &OsStr| name != LOCK && !scratch::is_named(name);
    let content = entries.find(|entry| {
        entry
            .as_ref()
            .map_or(true, |entry| is_content(&entry.file_name()))
    });
    let first: Result<_, Error> = content.transpose();
    Ok(first.with_context(|| cannot_use(path))?.is_some())
}
