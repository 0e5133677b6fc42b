//! Files that are never half-written. Each is made in a temporary folder beside its destination,
//! flushed to disk and renamed into place. All output of ewe goes through here, so that it never
//! overwrites a dataset ([`destination`]) and leaves nothing behind ([`scratch`]). The path `-` is
//! standard output.

mod destination;
pub mod folder;
mod lines;
pub mod scratch;

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
use destination::Destination;
use scratch::ScratchFolder;

/// Whether the path names standard output.
pub fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// Returns the free bytes on the disk of `dir`.
///
/// # Errors
///
/// When the file system does not tell.
pub fn free(dir: &Path) -> anyhow::Result<u64> {
    let disk =
        rustix::fs::statvfs(dir).with_context(|| format!("cannot look at the disk of {}", dir.display()))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// A file being written. Dropped before [`AtomicFile::commit`], it leaves the old file as it was.
#[derive(Debug)]
pub struct AtomicFile {
    sink: Sink,
    path: PathBuf,
}

#[derive(Debug)]
enum Sink {
    Temporary(Box<Staged>),
    /// A pipe or a device is written directly; only a regular file can be replaced.
    Direct(Visible<File>),
    Stdout(Visible<Plain>),
}

/// A temporary file beside its destination.
#[derive(Debug)]
struct Staged {
    scratch: ScratchFolder,
    file: File,
    destination: Destination,
    /// The mode of a new file, given the process's umask.
    mode: u32,
}

impl Staged {
    fn begin(destination: Destination) -> io::Result<Staged> {
        let scratch = ScratchFolder::beside(&destination.path)?;
        let file = File::create_new(scratch.path().join(FILE_NAME))?;
        let mode = file.metadata()?.permissions().mode();
        Ok(Staged {
            scratch,
            file,
            destination,
            mode,
        })
    }

    fn path(&self) -> PathBuf {
        self.scratch.path().join(FILE_NAME)
    }
}

/// The name of the file in its scratch folder.
const FILE_NAME: &str = "file";

impl AtomicFile {
    /// Starts writing the file at `path`. If that is a symbolic link, its target is replaced and
    /// the link stays.
    ///
    /// # Errors
    ///
    /// When nothing can be written there, or a database is there. The message names the path.
    pub fn begin(path: &Path) -> anyhow::Result<AtomicFile> {
        if is_stdout(path) {
            return Ok(AtomicFile {
                sink: Sink::Stdout(streams::data()),
                path: path.into(),
            });
        }
        let destination = Destination::of(path)?;
        let sink = if destination.is_direct {
            let file = OpenOptions::new()
                .append(true)
                .open(path)
                .with_context(|| cannot_write(path))?;
            let is_terminal = file.is_terminal();
            Sink::Direct(Visible::new(file, is_terminal))
        } else {
            Sink::Temporary(Box::new(
                Staged::begin(destination).map_err(|error| cannot_begin(path, error))?,
            ))
        };
        Ok(AtomicFile {
            sink,
            path: path.into(),
        })
    }

    /// Moves the file into place with the mode of the file it replaces, safe against power loss.
    ///
    /// # Errors
    ///
    /// When the disk refuses, or a database has appeared there. The message names the path.
    pub fn commit(self) -> anyhow::Result<()> {
        let staged = match self.sink {
            Sink::Temporary(staged) => staged,
            Sink::Direct(file) => return file.end().with_context(|| cannot_write(&self.path)),
            Sink::Stdout(stdout) => return stdout.end().with_context(|| cannot_write(&self.path)),
        };
        destination::refuse_database(&self.path, &staged.destination.path)?;
        staged
            .destination
            .adopt(&staged.file, staged.mode)
            .and_then(|()| staged.file.sync_all())
            .and_then(|()| std::fs::rename(staged.path(), &staged.destination.path))
            .and_then(|()| sync(parent(&staged.destination.path)))
            .with_context(|| cannot_write(&self.path))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.sink {
            Sink::Temporary(staged) => staged.file.write(bytes),
            Sink::Direct(file) => file.write(bytes),
            Sink::Stdout(stdout) => stdout.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::Temporary(staged) => staged.file.flush(),
            Sink::Direct(file) => file.flush(),
            Sink::Stdout(stdout) => stdout.flush(),
        }
    }
}

/// Writes `path` through a function that takes a path itself and may replace the file there.
///
/// # Errors
///
/// Errors of `write`, [`AtomicFile::begin`] and [`AtomicFile::commit`].
pub fn write_by<E>(path: &Path, write: impl FnOnce(&Path) -> Result<(), E>) -> anyhow::Result<()>
where
    Result<(), E>: Context<(), E>,
{
    let mut file = AtomicFile::begin(path)?;
    match &mut file.sink {
        Sink::Temporary(staged) => {
            write(&staged.path()).with_context(|| cannot_write(path))?;
            staged.file = File::open(staged.path()).with_context(|| cannot_write(path))?;
        }
        Sink::Direct(_) => write(path).with_context(|| cannot_write(path))?,
        Sink::Stdout(_) => bail!("{}: a file is needed", cannot_write(path)),
    }
    file.commit()
}

/// Fails if `path` cannot be written, so that a command knows before its work and not after. A pipe
/// is not opened: that would wait for its reader, who would take the close for the end of the data.
///
/// # Errors
///
/// As [`AtomicFile::begin`].
pub fn check(path: &Path) -> anyhow::Result<()> {
    if is_stdout(path) {
        return streams::stdout().is_open().with_context(|| cannot_write(path));
    }
    let destination = Destination::of(path)?;
    if destination.is_direct {
        return accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS)
            .map_err(io::Error::from)
            .with_context(|| cannot_write(path));
    }
    Staged::begin(destination)
        .map(drop)
        .map_err(|error| cannot_begin(path, error))
}

/// Fails if a new file at `path` would belong to a database beside it.
///
/// # Errors
///
/// The message names the path.
pub fn check_new(path: &Path) -> anyhow::Result<()> {
    destination::refuse_database(path, path)
}

/// Makes the folder `path` and its missing parents. Returns whether it was missing.
///
/// # Errors
///
/// When the system refuses, or one of the folders would belong to a database beside it. The message
/// names the path.
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

/// Removes the file at `path`, safe against power loss. A missing file is fine; a pipe or a device
/// stays.
///
/// # Errors
///
/// When the system refuses, or a database is there. The message names the path.
pub fn remove(path: &Path) -> anyhow::Result<()> {
    if is_stdout(path) || !path.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Ok(());
    }
    destination::refuse_database(path, path)?;
    std::fs::remove_file(path)
        .and_then(|()| sync(parent(path)))
        .with_context(|| format!("cannot remove `{}`", path.display()))
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// The beginning of every error about writing to `path`.
pub fn cannot_write(path: &Path) -> String {
    match is_stdout(path) {
        true => "cannot write to standard output".to_owned(),
        false => format!("cannot write `{}`", path.display()),
    }
}

fn cannot_begin(path: &Path, error: io::Error) -> anyhow::Error {
    anyhow::anyhow!("{}: {}", cannot_write(path), with_way_out(&error))
}

/// Returns the system's message for a file that could not be made, with a hint if there is a
/// remedy.
pub fn with_way_out(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("{error}\nhint: make its directory first"),
        _ => error.to_string(),
    }
}

/// Returns the directory of a path, `.` for a bare name.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
