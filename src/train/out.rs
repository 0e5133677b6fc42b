//! The folder of a result, which one process writes at a time: one that is filled as a run goes on
//! ([`OutFolder`]), and one that is there when it is whole ([`NewFolder`]).

pub mod checkpoint;
pub mod events;
pub mod files;
pub mod finished;
pub mod merge;
pub mod metrics;
pub mod save;
pub mod saved_template;
use anyhow::{Context, Result, bail};
use ewe::atomic_file::folder::Folder;
use ewe::atomic_file::{self, scratch};
use ewe::lock::FileLock;
use std::ffi::OsStr;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

/// The lock within the folder. Whoever is killed leaves it behind, unlocked; it is no content.
const LOCK: &str = ".lock";

/// A folder that nobody else writes to while this lives. One that was made for it and in which nothing was written is gone afterwards.
#[derive(Debug)]
pub struct OutFolder {
    path: PathBuf,
    made: bool,
    /// None where the file system has no locks.
    lock: Option<FileLock>,
}

impl OutFolder {
    /// Makes `path`, or makes sure that it is empty, for a run that can be resumed later.
    pub fn of_run(path: &Path) -> Result<OutFolder> {
        OutFolder::empty(
            path,
            match finished::is_run(path) {
                true => "another --out, or --resume to continue the run in it",
                false => "another --out",
            },
        )
    }

    /// The folder of a run to resume, or an empty one.
    pub fn of_resumed(path: &Path) -> Result<OutFolder> {
        if !path.try_exists().with_context(|| cannot_use(path))? {
            bail!(
                "there is nothing to resume: {} does not exist\nhint: leave --resume away",
                path.display()
            );
        }
        let folder = OutFolder::lock(path)?;
        if has_content(path)? && !finished::is_run(path) {
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
            let lock = match FileLock::take(&path.join(LOCK)) {
                Ok(Some(lock)) => Some(lock),
                Ok(None) => bail!(
                    "another process is writing to {}\nhint: wait until it has ended, or another --out",
                    path.display()
                ),
                Err(error) if error.kind() == ErrorKind::Unsupported => None,
                // Whoever made the folder has found nothing to write and removed it.
                Err(error) if error.kind() == ErrorKind::NotFound && !path.exists() => continue,
                Err(error) => return Err(error).with_context(|| cannot_use(path)),
            };
            if let (true, Some(lock)) = (made, &lock) {
                lock.has_a_new_folder();
            }
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
            // Fails, as it should, where something was written.
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}

/// A folder that is at its path once it is whole. Where an empty one stands, it is filled when all
/// is there.
#[derive(Debug)]
pub struct NewFolder {
    folder: Folder,
    /// The one that stands there.
    _standing: Option<OutFolder>,
}

impl NewFolder {
    /// Begins what is to be at `path`, where nothing may be yet.
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

    /// Writes it: `write` is told where. The files with names that are `last` come to their place
    /// after all others. Errors name the path that it was begun for.
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
