//! Folders that are never half-written: made beside their place and renamed. Where an empty folder
//! stands already, which may be another disk, or all that its owner may write to, it stays, and
//! what was made within it moves up.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};

use super::scratch::{self, Scratch};

/// A folder that is being written. Dropped before [`Folder::commit`], it leaves what was there.
#[derive(Debug)]
pub struct Folder {
    scratch: Scratch,
    /// Where it is made: in the scratch folder, under its own name.
    path: PathBuf,
    place: PathBuf,
    is_standing: bool,
}

impl Folder {
    /// Starts what shall be at `place`, where nothing is or an empty folder.
    ///
    /// # Errors
    ///
    /// When nothing can be written there, or another process has begun the same.
    pub fn begin(place: &Path) -> anyhow::Result<Folder> {
        let name = place.file_name().unwrap_or(OsStr::new("folder"));
        let is_standing = place.is_dir();
        let scratch = if is_standing {
            Scratch::within(place)
        } else {
            super::check_new(place)?;
            super::make_folder(super::parent(place))?;
            Scratch::beside(place)
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

    /// Where it is made.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An error of writing to it, by its place: nobody knows the path where it is made.
    pub fn told(&self, error: &anyhow::Error) -> anyhow::Error {
        let (path, place) = (self.path.display(), self.place.display());
        anyhow!(format!("{error:#}").replace(&path.to_string(), &place.to_string()))
    }

    /// Puts it in its place, safe from a loss of power. Where a folder stands there, files whose
    /// names are `last` come after all others, so that they tell that it is whole.
    ///
    /// # Errors
    ///
    /// When the disk refuses, or something came to be there; the message names the place.
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

    /// Whether somebody else who lives is making a folder of this name for the same place.
    fn has_rivals(&self, name: &OsStr) -> bool {
        let beside = super::parent(self.scratch.path());
        // What the dead left was swept.
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
