//! Rows in, JSON lines out. A file that is written appears whole or not at all.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use ewe::cli::reading::ReadingArgs;
use ewe::interchange::left_out::LeftOut;
use ewe::interchange::notes::Notes;
use ewe::interchange::read::{self, Need};
use serde::Serialize;

/// What a row of a file asks, and what is answered there.
#[derive(Debug)]
pub struct Row {
    /// The row, counted from 0.
    pub row: usize,
    /// System message, instruction and input in one text, or the prompt as it is.
    pub prompt: String,
    /// The answer; empty where none is wanted.
    pub completion: String,
}

/// Reads the rows of `path`: of each instance what is asked, and what is answered. Rows that cannot be read are left out, if
/// `args` say so, and keep their numbers.
pub fn read(path: &Path, args: &ReadingArgs, need: Need, quiet: bool) -> Result<Vec<Row>> {
    let mut reader = read::open(path, &args.reading(need)?)?;
    let mut left_out = LeftOut::begin(&args.policy(), quiet)?;
    let (mut rows, mut notes) = (Vec::new(), Notes::default());
    while let Some((row, incoming)) = left_out.next_row(&mut reader)? {
        notes.add(&incoming);
        let instances = &incoming.task.instances;
        for number in 0..instances.len().max(1) {
            rows.push(Row {
                row: row.number as usize - 1,
                prompt: incoming.question(number),
                completion: instances
                    .get(number)
                    .map(|instance| instance.output.clone())
                    .unwrap_or_default(),
            });
        }
    }
    left_out.end()?;
    if !quiet {
        notes.lines(false).iter().for_each(|line| eprintln!("{line}"));
    }
    Ok(rows)
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
