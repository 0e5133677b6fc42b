//! Where a file is written to: where links lead, what is there, and whether it may be overwritten.

use std::{
    ffi::OsString,
    fs::{self, File, Metadata, Permissions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use rustix::io::Errno;

use crate::lock::DATASET_ENDINGS;

/// The most links to follow in a row, more than any system follows.
const MOST_LINKS: usize = 40;

/// The endings of files that SQLite keeps beside a database.
const OF_SQLITE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// How many bytes of a file show whether it is SQLite's.
const HEAD: usize = 52;

/// The file that a path leads to.
#[derive(Debug)]
pub(super) struct Destination {
    /// The end of all links, so that a link stays a link.
    pub path: PathBuf,
    /// The path leads to a pipe, a device or an open file: it is written directly.
    pub is_direct: bool,
    standing: Option<Metadata>,
}

impl Destination {
    /// Follows `path` to its end.
    ///
    /// # Errors
    ///
    /// When nothing may be written there: a database, or a file that belongs to one.
    pub fn of(path: &Path) -> anyhow::Result<Destination> {
        let (end, is_open) = follow(path).with_context(|| super::cannot_write(path))?;
        refuse_database(path, &end)?;
        let standing = end.metadata().ok();
        let there = path.metadata().ok();
        if there.as_ref().is_some_and(Metadata::is_dir) {
            return Err(io::Error::from(Errno::ISDIR)).with_context(|| super::cannot_write(path));
        }
        let is_special = there.is_some_and(|metadata| !metadata.is_file());
        Ok(Destination {
            path: end,
            is_direct: is_open || is_special,
            standing,
        })
    }

    /// Gives a new file the owner and mode of the file it replaces, as far as the system allows, or
    /// the mode `default` if it replaces none.
    pub fn adopt(&self, file: &File, default: u32) -> io::Result<()> {
        let Some(standing) = &self.standing else {
            return file.set_permissions(Permissions::from_mode(default & 0o777));
        };
        let made = file.metadata()?;
        if made.uid() != standing.uid() || made.gid() != standing.gid() {
            // Only root gives files away; others may share them with a group of theirs.
            let _ = fchown(file, Some(standing.uid()), Some(standing.gid()))
                .or_else(|_| fchown(file, None, Some(standing.gid())));
        }
        file.set_permissions(Permissions::from_mode(standing.mode() & 0o777))
    }
}

/// Returns the end of the links at `path`, and whether one of them leads to an open file, such as
/// `/dev/stdout`.
fn follow(path: &Path) -> io::Result<(PathBuf, bool)> {
    let (mut end, mut is_open) = (path.to_path_buf(), false);
    for _ in 0..MOST_LINKS {
        if !end.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink()) {
            return Ok((end, is_open));
        }
        is_open |= end.starts_with("/proc");
        end = super::parent(&end).join(fs::read_link(&end)?);
    }
    Err(io::Error::other("too many links lead from one to the next"))
}

/// Fails if a database is at `end`, or a file that belongs to one. `path` is what the user typed.
pub(super) fn refuse_database(path: &Path, end: &Path) -> anyhow::Result<()> {
    if is_of_sqlite(end).with_context(|| format!("cannot see what is at `{}`", path.display()))? {
        bail!(
            "`{}` is a dataset or another SQLite database, and would be overwritten\nhint: choose another name",
            path.display()
        );
    }
    let name = end.file_name().unwrap_or_default().to_string_lossy();
    for suffix in OF_SQLITE.iter().chain(&DATASET_ENDINGS) {
        let Some(owner) = name.strip_suffix(*suffix).filter(|owner| !owner.is_empty()) else {
            continue;
        };
        if is_of_sqlite(&end.with_file_name(OsString::from(owner))).unwrap_or(false) {
            bail!(
                "`{}` belongs to the dataset `{owner}` beside it\nhint: choose another name",
                path.display()
            );
        }
    }
    Ok(())
}

/// Whether the file is an SQLite database, its write-ahead log or the log's index, whatever its
/// name.
fn is_of_sqlite(path: &Path) -> io::Result<bool> {
    if !path.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Ok(false);
    }
    let mut head = Vec::with_capacity(HEAD);
    File::open(path)?.take(HEAD as u64).read_to_end(&mut head)?;
    // https://www.sqlite.org/fileformat2.html and https://www.sqlite.org/walformat.html
    let number = |at: usize| {
        head.get(at..at + 4)
            .map(|bytes| bytes.try_into().expect("four bytes"))
    };
    let is_log = number(0).is_some_and(|magic| u32::from_be_bytes(magic) & !1 == 0x377f_0682);
    let is_index = number(0).map(u32::from_ne_bytes) == Some(3_007_000) && number(0) == number(48);
    Ok(head.starts_with(b"SQLite format 3\0") || is_log || is_index)
}
