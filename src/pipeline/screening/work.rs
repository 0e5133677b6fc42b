//! The folder in which a filter works that does not fit into memory. It is beside the output, or
//! where `--scratch` says, and has a name of its own for each output. A command that was killed
//! leaves it; the same command goes on with the parts that are in it, and another one for the same
//! output removes them.

use std::fs::{self, DirBuilder};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::atomic_file::{self, AtomicFile, cannot_write, scratch, with_way_out};
use crate::lock::FileLock;
use crate::text::{format_size, hex};

/// The beginning of the folder's name.
const PREFIX: &str = ".ewe-filter-";
const STATE: &str = "state.json";
const LOCK: &str = "lock";

/// How far the work is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// How many parts are final.
    pub(super) parts: u32,
    /// How many rows are compared with the next part; none if there is no next part.
    pub(super) open: u64,
    /// How many rows were read.
    pub(super) rows: u64,
}

/// What is written into the state: whose work it is, and how far it is.
#[derive(Serialize, Deserialize)]
struct State {
    job: Value,
    progress: Progress,
}

/// The folder, locked.
#[derive(Debug)]
pub(super) struct WorkFolder {
    path: PathBuf,
    job: Value,
    /// Held until the folder is gone, or the process ends.
    _lock: FileLock,
}

impl WorkFolder {
    /// Opens the folder for the work on `output` within `directory`, or makes it. Returns it with
    /// how far the work on this very job is: what another job left is removed.
    ///
    /// # Errors
    ///
    /// If nothing can be written there, or another process works in it.
    pub(super) fn begin(
        directory: &Path,
        output: &Path,
        job: Value,
    ) -> anyhow::Result<(WorkFolder, Progress)> {
        let path = directory.join(name(output)?);
        let failed = |error| anyhow!("cannot make `{}`: {}", path.display(), with_way_out(&error));
        let made = DirBuilder::new().mode(0o700).create(&path);
        if !path.is_dir() {
            made.map_err(failed)?;
        }
        let Some(lock) = FileLock::take_with_folder(&path.join(LOCK), true).map_err(failed)? else {
            bail!(
                "another process works in `{}`\nhint: wait until it has ended, or write to another file",
                path.display()
            );
        };
        let folder = WorkFolder {
            path,
            job,
            _lock: lock,
        };
        let progress = folder.progress().unwrap_or_default();
        folder.keep_only(&progress)?;
        Ok((folder, progress))
    }

    /// Where the verdicts of a part are.
    pub(super) fn verdicts(&self, part: u32) -> PathBuf {
        self.path.join(format!("verdicts-{part}.zst"))
    }

    /// Where the rows are that are compared with a part.
    pub(super) fn rows(&self, part: u32) -> PathBuf {
        self.path.join(format!("rows-{part}.zst"))
    }

    /// The path of the folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Notes how far the work is, once all files of the part are in their places, and removes the
    /// rows that are not needed any more.
    ///
    /// # Errors
    ///
    /// If the disk refuses.
    pub(super) fn note(&self, progress: &Progress) -> anyhow::Result<()> {
        let state = State {
            job: self.job.clone(),
            progress: progress.clone(),
        };
        let path = self.path.join(STATE);
        let mut file = AtomicFile::begin(&path)?;
        let line = serde_json::to_vec(&state)?;
        file.write_all(&line).with_context(|| cannot_write(&path))?;
        file.commit()?;
        self.keep_only(progress)
    }

    /// Fails unless the disk has room for `bytes`.
    ///
    /// # Errors
    ///
    /// With what is free there, and what would be enough.
    pub(super) fn ask_room(&self, bytes: u64) -> anyhow::Result<()> {
        let free = atomic_file::free(&self.path)?;
        if free >= bytes {
            return Ok(());
        }
        bail!(
            "rows that do not fit into memory take up to {} on disk, and `{}` has {} free\nhint: --scratch DIR on \
             another disk, or more --memory",
            format_size(bytes),
            atomic_file::parent(&self.path).display(),
            format_size(free)
        )
    }

    /// Removes the folder.
    pub(super) fn remove(self) {
        // The next command for the same output removes what cannot be removed now.
        let _ = fs::remove_dir_all(&self.path);
    }

    /// How far this job is, if the folder is about it.
    fn progress(&self) -> Option<Progress> {
        let state: State = serde_json::from_slice(&fs::read(self.path.join(STATE)).ok()?).ok()?;
        let progress = state.progress;
        let is_there = |path: PathBuf| path.is_file();
        let is_whole = (0..progress.parts).all(|part| is_there(self.verdicts(part)))
            && (progress.open == 0 || is_there(self.rows(progress.parts)));
        (state.job == self.job && is_whole).then_some(progress)
    }

    /// Removes all files but those of work that is this far.
    fn keep_only(&self, progress: &Progress) -> anyhow::Result<()> {
        let mut kept: Vec<PathBuf> = (0..progress.parts).map(|part| self.verdicts(part)).collect();
        kept.push(self.path.join(LOCK));
        if progress.parts > 0 {
            kept.push(self.rows(progress.parts));
            kept.push(self.path.join(STATE));
        }
        let context = || format!("cannot clear `{}`", self.path.display());
        for entry in fs::read_dir(&self.path).with_context(context)? {
            let path = entry.with_context(context)?.path();
            if kept.contains(&path) {
                continue;
            }
            match path.is_dir() && !path.is_symlink() {
                true if path.file_name().is_some_and(scratch::is_named) => {
                    fs::remove_dir_all(&path).with_context(context)?;
                }
                // Nothing of ours.
                true => {}
                false => fs::remove_file(&path).with_context(context)?,
            }
        }
        Ok(())
    }
}

/// The name of the folder for the work on `output`.
fn name(output: &Path) -> anyhow::Result<String> {
    let whole = std::path::absolute(output).with_context(|| cannot_write(output))?;
    let hash = hex(&Sha256::digest(whole.as_os_str().as_bytes())[..8]);
    Ok(format!("{PREFIX}{hash}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn begin(directory: &Path, job: &Value) -> anyhow::Result<(WorkFolder, Progress)> {
        WorkFolder::begin(directory, Path::new("kept.jsonl"), job.clone())
    }

    #[test]
    fn the_same_job_goes_on_and_another_begins_again() {
        let directory = tempfile::tempdir().unwrap();
        let (job, other) = (json!({"threshold": "0.7"}), json!({"threshold": "0.6"}));
        let done = Progress {
            parts: 1,
            open: 3,
            rows: 9,
        };
        let (folder, progress) = begin(directory.path(), &job).unwrap();
        assert_eq!(progress, Progress::default());
        fs::write(folder.verdicts(0), "").unwrap();
        fs::write(folder.rows(1), "").unwrap();
        folder.note(&done).unwrap();
        fs::write(folder.rows(2), "of a part that was not finished").unwrap();
        let error = begin(directory.path(), &job).unwrap_err().to_string();
        assert!(error.contains("another process works in"), "{error}");
        drop(folder);
        let (folder, progress) = begin(directory.path(), &job).unwrap();
        assert_eq!(progress, done);
        assert!(folder.rows(1).exists() && !folder.rows(2).exists());
        drop(folder);
        let (folder, progress) = begin(directory.path(), &other).unwrap();
        assert_eq!(progress, Progress::default());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        folder.remove();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn work_whose_files_are_gone_begins_again() {
        let directory = tempfile::tempdir().unwrap();
        let job = json!("job");
        let (folder, _) = begin(directory.path(), &job).unwrap();
        let done = Progress {
            parts: 2,
            open: 0,
            rows: 9,
        };
        fs::write(folder.verdicts(0), "").unwrap();
        folder.note(&done).unwrap();
        drop(folder);
        assert_eq!(begin(directory.path(), &job).unwrap().1, Progress::default());
    }

    #[test]
    fn a_disk_without_room_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (folder, _) = begin(directory.path(), &json!(1)).unwrap();
        folder.ask_room(1).unwrap();
        let error = folder.ask_room(u64::MAX).unwrap_err().to_string();
        assert!(error.contains("free\nhint: --scratch DIR"), "{error}");
    }
}
