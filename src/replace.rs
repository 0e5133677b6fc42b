//! Files that are never half-written: a temporary one beside, flushed to the disk, then renamed into place.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use tempfile::NamedTempFile;

/// A file that is being written. Dropped before [`Replacement::commit`], it leaves what was there.
#[derive(Debug)]
pub struct Replacement {
    out: Out,
    path: PathBuf,
}

#[derive(Debug)]
enum Out {
    Temporary(NamedTempFile),
    /// A pipe or a device is written to as it is; only a regular file can be replaced.
    Direct(File),
}

impl Replacement {
    /// Starts to write what shall be at `path`.
    ///
    /// # Errors
    ///
    /// When nothing can be written there; the message names the path.
    pub fn begin(path: &Path) -> anyhow::Result<Replacement> {
        let context = || format!("cannot write `{}`", path.display());
        let out = if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
            Out::Direct(OpenOptions::new().write(true).open(path).with_context(context)?)
        } else {
            // Temporary files hide from everybody else by default; this one gets what a new file would get.
            let temporary = tempfile::Builder::new()
                .prefix(".ewe-")
                .permissions(std::fs::Permissions::from_mode(0o666))
                .tempfile_in(parent(path))
                .with_context(context)?;
            Out::Temporary(temporary)
        };
        Ok(Replacement {
            out,
            path: path.into(),
        })
    }

    /// Puts the file in its place, safe from a loss of power.
    ///
    /// # Errors
    ///
    /// When the disk refuses; the message names the path.
    pub fn commit(self) -> anyhow::Result<()> {
        let context = || format!("cannot write `{}`", self.path.display());
        if let Out::Temporary(temporary) = self.out {
            temporary.as_file().sync_all().with_context(context)?;
            temporary.persist(&self.path).with_context(context)?;
            File::open(parent(&self.path))
                .and_then(|parent| parent.sync_all())
                .with_context(context)?;
        }
        Ok(())
    }
}

impl Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.out {
            Out::Temporary(file) => file.write(bytes),
            Out::Direct(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.out {
            Out::Temporary(file) => file.flush(),
            Out::Direct(file) => file.flush(),
        }
    }
}

/// Takes away what is at `path`, safe from a loss of power. Nothing there is fine, and a pipe or a device stays.
///
/// # Errors
///
/// When the system refuses; the message names the path.
pub fn remove(path: &Path) -> anyhow::Result<()> {
    let context = || format!("cannot remove `{}`", path.display());
    if !path.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Ok(());
    }
    std::fs::remove_file(path).with_context(context)?;
    File::open(parent(path))
        .and_then(|parent| parent.sync_all())
        .with_context(context)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
