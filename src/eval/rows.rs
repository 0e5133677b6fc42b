//! JSON lines in, JSON lines out. A file that is written appears whole or not at all.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads every line of `path` that is not blank. Fails with file and line number at the first that does not fit.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            serde_json::from_str(line)
                .with_context(|| format!("{}:{}: not a usable row", path.display(), number + 1))
        })
        .collect()
}

/// Fails if `path` could not be written later on: better known before the work than after it.
pub fn check_writable(path: &Path) -> Result<()> {
    let dir = folder(path);
    if path.is_dir() {
        bail!("cannot write {}: it is a directory", path.display());
    }
    tempfile::Builder::new()
        .tempfile_in(dir)
        .with_context(|| format!("cannot write to {}", dir.display()))?;
    Ok(())
}

/// Writes `rows` to `path`: to a temporary file beside it, to the disk, then in place by renaming.
pub fn write<T: Serialize>(path: &Path, rows: &[T]) -> Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let mut file = tempfile::Builder::new()
        .prefix(".ewe-")
        // Less the umask, as for any other file; the default of a temporary one is for its owner only.
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(folder(path))
        .with_context(failed)?;
    {
        let mut out = std::io::BufWriter::new(file.as_file_mut());
        for row in rows {
            serde_json::to_writer(&mut out, row).with_context(failed)?;
            out.write_all(b"\n").with_context(failed)?;
        }
        out.flush().with_context(failed)?;
    }
    file.as_file().sync_all().with_context(failed)?;
    file.persist(path).with_context(failed)?;
    Ok(())
}

fn folder(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}
