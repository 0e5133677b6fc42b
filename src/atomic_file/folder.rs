//! Folders that are never half-written: made beside their destination and renamed. An empty folder
//! that exists already stays, since it may be another disk, or all that its owner may write to;
//! what was made within it is then moved up.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};

use super::scratch::{self, ScratchFolder};

/// A folder being written. Dropped before [`Folder::commit`], it leaves the old one as it was.
#[derive(Debug)]
pub struct Folder {
    scratch: ScratchFolder,
    /// Where it is made: in the scratch folder, under its own name.
    path: PathBuf,
    place: PathBuf,
    is_standing: bool,
}

impl Folder {
    /// Starts the folder `place`, which must be missing or empty.
    ///
    /// # Errors
    ///
    /// When nothing can be written there, or another process is writing the same folder.
    pub fn begin(place: &Path) -> anyhow::Result<Folder> {
        let name = place.file_name().unwrap_or(OsStr::new("folder"));
        let is_standing = place.is_dir();
        let scratch = if is_standing {
            ScratchFolder::within(place)
        } else {
            super::check_new(place)?;
            super::make_folder(super::parent(place))?;
            ScratchFolder::beside(place)
        };
        let scratch = scratch.with_context(|| super::cannot_write(place))?;
        let path = scratch.path().join(name);
        fs::create_dir(&path).with_context(|| super::cannot_write(place))?;
        let folder = Folder {
            scratch,
            path,
            place: place.into(),
            is_standing,
        };
        if folder.has_rivals(name) {
            bail!(
                "another process is writing to {}\nhint: wait until it has ended, or choose another name",
                place.display()
            );
        }
        Ok(folder)
    }

    /// The path where it is made.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Rewrites an error about it to name its destination: nobody knows the temporary path.
    pub fn told(&self, error: &anyhow::Error) -> anyhow::Error {
        let (path, place) = (self.path.display(), self.place.display());
        anyhow!(format!("{error:#}").replace(&path.to_string(), &place.to_string()))
    }

    /// Moves it into place, safe against power loss. Within an existing folder, files whose names
    /// are `last` are moved after all others, so that they show that the folder is complete.
    ///
    /// # Errors
    ///
    /// When the disk refuses, or something has appeared there. The message names the destination.
    pub fn commit(self, last: impl Fn(&OsStr) -> bool) -> anyhow::Result<()> {
        let moved = match self.is_standing {
            true => self.move_up(last),
            false => super::sync(&self.path)
                .and_then(|()| fs::rename(&self.path, &self.place))
                .and_then(|()| super::sync(super::parent(&self.place))),
        };
        moved.with_context(|| super::cannot_write(&self.place))
    }

    fn move_up(&self, last: impl Fn(&OsStr) -> bool) -> io::Result<()> {
        let mut names = fs::read_dir(&self.path)?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort_by_key(|name| last(name));
        for name in names {
            fs::rename(self.path.join(&name), self.place.join(&name))?;
        }
        super::sync(&self.place)
    }

    /// Whether another living process is making a folder of this name for the same destination.
    fn has_rivals(&self, name: &OsStr) -> bool {
        let beside = super::parent(self.scratch.path());
        // The leftovers of dead processes have been swept already.
        let others = fs::read_dir(beside).into_iter().flatten().flatten();
        let others = others.filter(|entry| scratch::is_named(&entry.file_name()));
        let mut folders = others.map(|entry| entry.path().join(name));
        folders.any(|folder| folder != self.path && folder.is_dir())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(path: &Path) -> Vec<String> {
        let names = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    fn fill(folder: &Folder) {
        for name in ["weights", "config"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
    }

    #[test]
    fn it_is_there_when_it_is_whole_and_else_nothing_is() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("new/x.m");
        let folder = Folder::begin(&place).unwrap();
        fill(&folder);
        assert!(!place.exists());
        drop(folder);
        assert_eq!(entries(place.parent().unwrap()), [""; 0]);
        let folder = Folder::begin(&place).unwrap();
        fill(&folder);
        folder.commit(|_| false).unwrap();
        assert_eq!(entries(&place), ["config", "weights"]);
        assert_eq!(entries(place.parent().unwrap()), ["x.m"]);
        // Others may look into it, as into any new folder.
        let plain = directory.path().join("plain");
        fs::create_dir(&plain).unwrap();
        let permissions = |path: &Path| path.metadata().unwrap().permissions();
        assert_eq!(permissions(&place), permissions(&plain));
    }

    #[test]
    fn an_empty_folder_that_stands_there_is_filled() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::begin(place.path()).unwrap();
        fill(&folder);
        drop(folder);
        assert_eq!(entries(place.path()), [""; 0]);
        let folder = Folder::begin(place.path()).unwrap();
        fill(&folder);
        folder.commit(|name| name == "config").unwrap();
        assert_eq!(entries(place.path()), ["config", "weights"]);
    }

    #[test]
    fn only_one_is_written_and_nothing_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("x.m");
        let folder = Folder::begin(&place).unwrap();
        let error = format!("{:#}", Folder::begin(&place).unwrap_err());
        assert!(error.contains("another process is writing to"), "{error}");
        assert!(Folder::begin(&directory.path().join("y.m")).is_ok());
        fs::create_dir(&place).unwrap();
        fs::write(place.join("notes"), "mine").unwrap();
        let error = folder.told(&anyhow!("cannot write `{}`", folder.path().display()));
        assert_eq!(error.to_string(), format!("cannot write `{}`", place.display()));
        let error = format!("{:#}", folder.commit(|_| false).unwrap_err());
        assert!(error.contains("cannot write") && error.contains("x.m"), "{error}");
        assert_eq!(entries(&place), ["notes"]);
    }
}
