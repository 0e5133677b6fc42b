//! Files that are never half-written: made in a folder of their own beside, flushed to the disk, then renamed into place.
//! Everything that ewe writes goes through here, so no output is ever a dataset ([`target`]) and nothing is left behind
//! ([`scratch`]).

pub mod scratch;
mod target;

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;

use scratch::Scratch;
use target::Target;

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

/// A file that is being written. Dropped before [`Replacement::commit`], it leaves what was there.
#[derive(Debug)]
pub struct Replacement {
    out: Out,
    path: PathBuf,
}

#[derive(Debug)]
enum Out {
    Temporary(Box<Staged>),
    /// A pipe or a device is written to as it is; only a regular file can be replaced.
    Direct(File),
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

impl Replacement {
    /// Starts to write what shall be at `path`. Where that is a link, what it leads to is replaced and the link stays.
    ///
    /// # Errors
    ///
    /// When nothing can be written there, or a database is there; the message names the path.
    pub fn begin(path: &Path) -> anyhow::Result<Replacement> {
        let target = Target::of(path)?;
        let out = if target.is_direct {
            let file = OpenOptions::new()
                .append(true)
                .open(path)
                .with_context(|| cannot_write(path))?;
            Out::Direct(file)
        } else {
            Out::Temporary(Box::new(
                Staged::begin(target).map_err(|error| cannot_begin(path, error))?,
            ))
        };
        Ok(Replacement {
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
        let Out::Temporary(staged) = self.out else {
            return Ok(());
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

impl Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.out {
            Out::Temporary(staged) => staged.file.write(bytes),
            Out::Direct(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.out {
            Out::Temporary(staged) => staged.file.flush(),
            Out::Direct(file) => file.flush(),
        }
    }
}

/// Writes what shall be at `path` by a function that wants a path itself, and may make another file of that name.
///
/// # Errors
///
/// Those of `write`, and those of [`Replacement::begin`] and [`Replacement::commit`].
pub fn write_by<E>(path: &Path, write: impl FnOnce(&Path) -> Result<(), E>) -> anyhow::Result<()>
where
    Result<(), E>: Context<(), E>,
{
    let mut replacement = Replacement::begin(path)?;
    match &mut replacement.out {
        Out::Temporary(staged) => {
            write(&staged.place()).with_context(|| cannot_write(path))?;
            staged.file = File::open(staged.place()).with_context(|| cannot_write(path))?;
        }
        Out::Direct(_) => write(path).with_context(|| cannot_write(path))?,
    }
    replacement.commit()
}

/// The file under a buffer, with all that was in the buffer.
///
/// # Errors
///
/// When the disk refuses what was left; the message names the path.
pub fn flushed(buffer: BufWriter<Replacement>) -> anyhow::Result<Replacement> {
    let context = cannot_write(&buffer.get_ref().path);
    buffer
        .into_inner()
        .map_err(io::IntoInnerError::into_error)
        .context(context)
}

/// Fails if `path` could not be written later on: better known before the work than after it.
///
/// # Errors
///
/// Those of [`Replacement::begin`].
pub fn check(path: &Path) -> anyhow::Result<()> {
    Replacement::begin(path).map(drop)
}

/// Fails where a new file at `path` would belong to a database beside it.
///
/// # Errors
///
/// The message names the path.
pub fn check_new(path: &Path) -> anyhow::Result<()> {
    target::refuse_database(path, path)
}

/// Takes away what is at `path`, safe from a loss of power. Nothing there is fine, and a pipe or a device stays.
///
/// # Errors
///
/// When the system refuses, or a database is there; the message names the path.
pub fn remove(path: &Path) -> anyhow::Result<()> {
    if !path.metadata().is_ok_and(|metadata| metadata.is_file()) {
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

fn cannot_write(path: &Path) -> String {
    format!("cannot write `{}`", path.display())
}

fn cannot_begin(path: &Path, error: io::Error) -> anyhow::Error {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => "\nhint: make its directory first",
        _ => "",
    };
    anyhow::anyhow!("{}: {error}{hint}", cannot_write(path))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
