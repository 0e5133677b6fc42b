//! Files that are never half-written: made in a folder of their own beside, flushed to the disk, then renamed into place.
//! Everything that ewe writes goes through here, so no output is ever a dataset ([`target`]) and nothing is left behind
//! ([`scratch`]). The path `-` is standard output.

pub mod folder;
mod lines;
pub mod scratch;
mod target;

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use rustix::fs::{Access, AtFlags, CWD, accessat};

pub use lines::Lines;

use crate::streams::{self, Plain, Visible};
use scratch::Scratch;
use target::Target;

/// Whether the path is the name of standard output.
pub fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// Bytes that may still be written to the disk of `dir`.
///
/// # Errors
///
/// When that cannot be known.
pub fn free(dir: &Path) -> anyhow::Result<u64> {
    let disk =
        rustix::fs::statvfs(dir).with_context(|| format!("cannot look at the disk of {}", dir.display()))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// A file that is being written. Dropped before [`AtomicFile::commit`], it leaves what was there.
#[derive(Debug)]
pub struct AtomicFile {
    out: Out,
    path: PathBuf,
}

#[derive(Debug)]
enum Out {
    Temporary(Box<Staged>),
    /// A pipe or a device is written to as it is; only a regular file can be replaced.
    Direct(Visible<File>),
    Stdout(Visible<Plain>),
}

/// A file beside its place.
#[derive(Debug)]
struct Staged {
    scratch: Scratch,
    file: File,
    target: Target,
    /// What a new file may be used for.
    mode: u32,
}

impl Staged {
    fn begin(target: Target) -> io::Result<Staged> {
        let scratch = Scratch::beside(&target.path)?;
        let file = File::create_new(scratch.path().join(NAME))?;
        let mode = file.metadata()?.permissions().mode();
        Ok(Staged {
            scratch,
            file,
            target,
            mode,
        })
    }

    fn place(&self) -> PathBuf {
        self.scratch.path().join(NAME)
    }
}

/// The name of a file in its scratch folder.
const NAME: &str = "file";

impl AtomicFile {
    /// Starts to write what shall be at `path`. Where that is a link, what it leads to is replaced and the link stays.
    ///
    /// # Errors
    ///
    /// When nothing can be written there, or a database is there; the message names the path.
    pub fn begin(path: &Path) -> anyhow::Result<AtomicFile> {
        if is_stdout(path) {
            return Ok(AtomicFile {
                out: Out::Stdout(streams::data()),
                path: path.into(),
            });
        }
        let target = Target::of(path)?;
        let out = if target.is_direct {
            let file = OpenOptions::new()
                .append(true)
                .open(path)
                .with_context(|| cannot_write(path))?;
            let is_terminal = file.is_terminal();
            Out::Direct(Visible::new(file, is_terminal))
        } else {
            Out::Temporary(Box::new(
                Staged::begin(target).map_err(|error| cannot_begin(path, error))?,
            ))
        };
        Ok(AtomicFile {
            out,
            path: path.into(),
        })
    }

    /// Puts the file in its place, with the mode of what it replaces, safe from a loss of power.
    ///
    /// # Errors
    ///
    /// When the disk refuses, or a database came to be there; the message names the path.
    pub fn commit(self) -> anyhow::Result<()> {
        let staged = match self.out {
            Out::Temporary(staged) => staged,
            Out::Direct(file) => return file.end().with_context(|| cannot_write(&self.path)),
            Out::Stdout(stdout) => return stdout.end().with_context(|| cannot_write(&self.path)),
        };
        target::refuse_database(&self.path, &staged.target.path)?;
        staged
            .target
            .adopt(&staged.file, staged.mode)
            .and_then(|()| staged.file.sync_all())
            .and_then(|()| std::fs::rename(staged.place(), &staged.target.path))
            .and_then(|()| sync(parent(&staged.target.path)))
            .with_context(|| cannot_write(&self.path))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.out {
            Out::Temporary(staged) => staged.file.write(bytes),
            Out::Direct(file) => file.write(bytes),
            Out::Stdout(stdout) => stdout.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.out {
            Out::Temporary(staged) => staged.file.flush(),
            Out::Direct(file) => file.flush(),
            Out::Stdout(stdout) => stdout.flush(),
        }
    }
}

/// Writes what shall be at `path` by a function that wants a path itself, and may make another file of that name.
///
/// # Errors
///
/// Those of `write`, and those of [`AtomicFile::begin`] and [`AtomicFile::commit`].
pub fn write_by<E>(path: &Path, write: impl FnOnce(&Path) -> Result<(), E>) -> anyhow::Result<()>
where
    Result<(), E>: Context<(), E>,
{
    let mut replacement = AtomicFile::begin(path)?;
    match &mut replacement.out {
        Out::Temporary(staged) => {
            write(&staged.place()).with_context(|| cannot_write(path))?;
            staged.file = File::open(staged.place()).with_context(|| cannot_write(path))?;
        }
        Out::Direct(_) => write(path).with_context(|| cannot_write(path))?,
        Out::Stdout(_) => bail!("{}: a file is needed", cannot_write(path)),
    }
    replacement.commit()
}

/// Fails if `path` could not be written later on: better known before the work than after it. A pipe is not opened: that waits for
/// its reader, who would take the closing for the end of what comes.
///
/// # Errors
///
/// Those of [`AtomicFile::begin`].
pub fn check(path: &Path) -> anyhow::Result<()> {
    if is_stdout(path) {
        return streams::stdout().is_open().with_context(|| cannot_write(path));
    }
    let target = Target::of(path)?;
    if target.is_direct {
        return accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS)
            .map_err(io::Error::from)
            .with_context(|| cannot_write(path));
    }
    Staged::begin(target)
        .map(drop)
        .map_err(|error| cannot_begin(path, error))
}

/// Fails where something new at `path` would belong to a database beside it.
///
/// # Errors
///
/// The message names the path.
pub fn check_new(path: &Path) -> anyhow::Result<()> {
    target::refuse_database(path, path)
}

/// Makes the folder `path` with those that it is in, where they are missing; returns whether it was.
///
/// # Errors
///
/// When the system refuses, or one of them would belong to a database beside it; the message names the path.
pub fn make_folder(path: &Path) -> anyhow::Result<bool> {
    check_new(path)?;
    for missing in path.ancestors().skip(1).take_while(|folder| !folder.exists()) {
        check_new(missing)?;
    }
    let context = || format!("cannot make `{}`", path.display());
    match std::fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::create_dir_all(path).with_context(context)?;
            Ok(true)
        }
        Err(_) if path.is_dir() => Ok(false),
        Err(error) => Err(error).with_context(context),
    }
}

/// Takes away what is at `path`, safe from a loss of power. Nothing there is fine, and a pipe or a device stays.
///
/// # Errors
///
/// When the system refuses, or a database is there; the message names the path.
pub fn remove(path: &Path) -> anyhow::Result<()> {
    if is_stdout(path) || !path.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Ok(());
    }
    target::refuse_database(path, path)?;
    std::fs::remove_file(path)
        .and_then(|()| sync(parent(path)))
        .with_context(|| format!("cannot remove `{}`", path.display()))
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// What an error of writing to `path` begins with.
pub fn cannot_write(path: &Path) -> String {
    match is_stdout(path) {
        true => "cannot write to standard output".to_owned(),
        false => format!("cannot write `{}`", path.display()),
    }
}

fn cannot_begin(path: &Path, error: io::Error) -> anyhow::Error {
    anyhow::anyhow!("{}: {}", cannot_write(path), with_way_out(&error))
}

/// What the system says of something that could not be made, with what can be done about it.
pub fn with_way_out(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("{error}\nhint: make its directory first"),
        _ => error.to_string(),
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
