//! Verdicts on the rows of files whose words do not fit into memory: part by part, with the rows in
//! between on disk. See [`Partition`].

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::against::add_against_to;
use super::config::FilterConfig;
use super::rows::{BATCH_ROWS, InputRows, malformed};
use super::spill::{RecordFile, Records, RowVerdict, unreadable};
use super::work::{Progress, WorkFolder};
use crate::atomic_file::{is_stdout, parent};
use crate::filter::index::MOST_WORDS;
use crate::filter::kept::{Kept, inputs};
use crate::filter::partition::{OpenRow, Partition};
use crate::filter::screen::Checks;
use crate::interchange::left_out::{LeftOut, Policy};
use crate::progress::ProgressMeter;
use crate::task::Verdict;
use crate::text::counted;

/// What the program takes beside the rows kept: batches on their way in and out, buffers.
const BESIDE: u64 = 256 << 20;
/// Bytes of memory that a row kept takes, about; so many rows more or less do not matter.
const ROW_BYTES: usize = 2048;
/// Bytes of instructions in a batch that is read again, about.
const BATCH_BYTES: usize = 16 << 20;

/// The bytes that the rows of a part may take of this memory. Where it is so small that the program
/// itself takes most of it, it is half.
pub(super) fn limit(memory: u64) -> usize {
    memory.saturating_sub(BESIDE).max(memory / 2) as usize
}

/// How many rows a batch may have, so that a part does not grow far over its limit.
pub(super) fn batch_rows(limit: usize) -> usize {
    (limit / ROW_BYTES / 4).clamp(16, BATCH_ROWS)
}

/// All verdicts, on disk.
pub(super) struct Decided {
    folder: WorkFolder,
    /// The verdicts of each part, in the order of rows, from the next one on.
    parts: Vec<(Records, Option<RowVerdict>)>,
}

impl Decided {
    fn begin(folder: WorkFolder, parts: u32) -> anyhow::Result<Decided> {
        let open = |part| {
            let mut records = Records::open(&folder.verdicts(part))?;
            let first = records.next()?;
            anyhow::Ok((records, first))
        };
        let parts = (0..parts).map(open).collect::<Result<_, _>>()?;
        Ok(Decided { folder, parts })
    }

    /// How many parts there were.
    pub(super) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// The verdicts on `count` rows from `first` on.
    pub(super) fn next(&mut self, first: u64, count: usize) -> anyhow::Result<Vec<Verdict>> {
        (first..first + count as u64)
            .map(|row| {
                let is_it = |verdict: &RowVerdict| u64::from(verdict.row) == row;
                let part = self
                    .parts
                    .iter_mut()
                    .find(|(_, next)| next.as_ref().is_some_and(is_it));
                let Some((records, next)) = part else {
                    let what = format!("there is no verdict on row {row}: has the input changed?");
                    return Err(unreadable(&self.folder.verdicts(0), &what));
                };
                let following = records.next()?;
                let verdict = std::mem::replace(next, following).expect("it was found");
                Ok(verdict.verdict)
            })
            .collect()
    }

    /// Removes the files.
    pub(super) fn end(self) {
        self.folder.remove();
    }
}

/// Decides about all rows of the files within `memory` bytes. Parts that an earlier run of the same
/// command finished are not computed again.
pub(super) fn decide(config: &FilterConfig, memory: u64, quiet: bool) -> anyhow::Result<Decided> {
    let (directory, output) = place(config);
    let (folder, mut progress) = WorkFolder::begin(&directory, &output, job(config)?)?;
    if progress.parts == 0
        && let Err(error) = folder.ask_room(room(&config.files))
    {
        folder.remove();
        return Err(error);
    }
    if progress.parts > 0 && !quiet {
        let parts = counted(u64::from(progress.parts), "part");
        eprintln!("filter: going on after {parts}, which an earlier run finished");
    }
    while progress.parts == 0 || progress.open > 0 {
        match part(config, &folder, &progress, memory, quiet) {
            Ok(further) => progress = further,
            Err(error) if progress.parts == 0 => {
                folder.remove();
                return Err(error);
            }
            Err(error) => {
                let (parts, folder) = (
                    counted(u64::from(progress.parts), "part"),
                    folder.path().display(),
                );
                return Err(error.context(format!(
                    "part {} of the comparison failed\nhint: the same command goes on after {parts}, kept in `{folder}`",
                    progress.parts + 1
                )));
            }
        }
        folder.note(&progress)?;
    }
    Decided::begin(folder, progress.parts)
}

/// Fills the next part, and compares it with all rows behind it.
fn part(
    config: &FilterConfig,
    folder: &WorkFolder,
    before: &Progress,
    memory: u64,
    quiet: bool,
) -> anyhow::Result<Progress> {
    let limit = limit(memory);
    let mut kept = Kept::new(config.threshold);
    let number = before.parts;
    let mut bar;
    let mut source = if number == 0 {
        let mut checks = Checks::new(config.rules.clone(), config.threshold).comparing(config.compared);
        add_against_to(&mut checks, &mut kept, &config.against, &config.reading, quiet)?;
        let rows = InputRows::begin(&config.files, &config.reading, batch_rows(limit))?;
        bar = ProgressMeter::bytes("filter, part 1", rows.size().unwrap_or(0), quiet);
        Source::Files {
            rows: Box::new(rows),
            checks: Box::new(checks),
            keep_going: config.policy.keep_going,
            row: 0,
        }
    } else {
        bar = ProgressMeter::new(
            &format!("filter, part {}", number + 1),
            "row",
            0,
            before.open,
            quiet,
        );
        Source::Spilled {
            records: Records::open(&folder.rows(number))?,
            most: batch_rows(limit),
        }
    };
    let mut verdicts = RecordFile::begin(&folder.verdicts(number))?;
    let mut later = RecordFile::begin(&folder.rows(number + 1))?;
    let mut filled = Filled {
        part: Partition::new(kept),
        limit,
        look_at: 0,
        is_full: false,
    };
    filled.look();
    let (mut open, mut rows) = (0, 0);
    let mut batch = source.next()?;
    while !batch.is_empty() {
        rows += batch.len() as u64;
        let (next, judged) = rayon::join(|| source.next(), || filled.judge(batch));
        for row in &judged {
            match row {
                Arrival::Judged(verdict) => verdicts.add(verdict)?,
                Arrival::Open(row) => {
                    later.add(row)?;
                    open += 1;
                }
            }
        }
        let message = format!("{} in the part", counted(filled.part.len() as u64, "row"));
        bar.set(source.done(rows), &message);
        batch = next?;
    }
    bar.finish();
    drop(filled);
    verdicts.commit()?;
    if open > 0 {
        later.commit()?;
    }
    Ok(Progress {
        parts: number + 1,
        open,
        rows: if number == 0 { rows } else { before.rows },
    })
}

/// A row that comes to a part, or leaves it.
enum Arrival {
    /// Its verdict is final.
    Judged(RowVerdict),
    /// Its verdict depends on a part.
    Open(OpenRow),
}

/// Where the rows of a part come from.
enum Source<'a> {
    /// The files, whose rows are checked by the rules first.
    Files {
        rows: Box<InputRows<'a>>,
        checks: Box<Checks>,
        keep_going: bool,
        /// The number of the next row.
        row: u64,
    },
    /// What the part before left.
    Spilled { records: Records, most: usize },
}

impl Source<'_> {
    /// The next rows; none at the end.
    fn next(&mut self) -> anyhow::Result<Vec<Arrival>> {
        match self {
            Source::Files {
                rows,
                checks,
                keep_going,
                row,
            } => {
                let batch = rows.next_batch()?;
                if !*keep_going && let Some((row, error)) = batch.errors().next() {
                    LeftOut::begin(&Policy::default(), true)?.leave(error, row)?;
                }
                let first = *row;
                *row += batch.rows.len() as u64;
                if *row > u64::from(u32::MAX) {
                    bail!(
                        "there are more than {}\nhint: filter parts of them, then the rows kept of all",
                        counted(u64::from(u32::MAX), "row")
                    );
                }
                Ok((first as u32..*row as u32)
                    .into_par_iter()
                    .zip(batch.rows)
                    .map(|(row, (_, task))| match task {
                        Err(error) => Arrival::Judged(RowVerdict {
                            row,
                            verdict: malformed(&error),
                        }),
                        Ok(task) => match checks.check(&task) {
                            verdict if verdict.is_rejected() => Arrival::Judged(RowVerdict { row, verdict }),
                            _ => Arrival::Open(OpenRow {
                                row,
                                inputs: inputs(&task),
                                text: checks.text(&task),
                                best: None,
                            }),
                        },
                    })
                    .collect())
            }
            Source::Spilled { records, most } => {
                let (mut rows, mut bytes) = (Vec::new(), 0);
                while rows.len() < *most
                    && bytes < BATCH_BYTES
                    && let Some(row) = records.next::<OpenRow>()?
                {
                    bytes += row.text.len();
                    rows.push(Arrival::Open(row));
                }
                Ok(rows)
            }
        }
    }

    /// How far the source is, after so many rows.
    fn done(&self, rows: u64) -> u64 {
        match self {
            Source::Files { rows, .. } => rows.bytes_read(),
            Source::Spilled { .. } => rows,
        }
    }
}

/// A part, which is filled up to a limit.
struct Filled {
    part: Partition,
    limit: usize,
    /// With so many rows its size is looked at again: that takes longer than a row.
    look_at: usize,
    is_full: bool,
}

impl Filled {
    fn judge(&mut self, batch: Vec<Arrival>) -> Vec<Arrival> {
        let mut open: Vec<OpenRow> = Vec::with_capacity(batch.len());
        // The order of rows, with those that are judged already.
        let mut judged: Vec<Option<RowVerdict>> = Vec::with_capacity(batch.len());
        for arrival in batch {
            match arrival {
                Arrival::Judged(verdict) => judged.push(Some(verdict)),
                Arrival::Open(row) => {
                    judged.push(None);
                    open.push(row);
                }
            }
        }
        let verdicts: Vec<Option<Verdict>> = match self.is_full {
            true => self.part.compare(&mut open),
            false => self.part.admit(&open).into_iter().map(Some).collect(),
        };
        self.look();
        let mut compared = open.into_iter().zip(verdicts);
        judged
            .into_iter()
            .map(|verdict| match verdict {
                Some(verdict) => Arrival::Judged(verdict),
                None => match compared.next().expect("one for each open row") {
                    (OpenRow { row, .. }, Some(verdict)) => Arrival::Judged(RowVerdict { row, verdict }),
                    (row, None) => Arrival::Open(row),
                },
            })
            .collect()
    }

    /// Looks whether it is at its limit.
    fn look(&mut self) {
        if self.is_full || self.part.len() < self.look_at || self.part.is_empty() {
            return;
        }
        self.look_at = self.part.len() + self.part.len() / 32;
        self.is_full = self.part.bytes() > self.limit || self.part.words() > MOST_WORDS / 2;
    }
}

/// The folder in which to work, and the file that the work is for.
fn place(config: &FilterConfig) -> (PathBuf, PathBuf) {
    let is_file = |path: &&Path| !is_stdout(path) && (!path.exists() || path.is_file() || path.is_dir());
    let outputs = [config.out.as_deref(), config.verdicts.as_deref()];
    let output = outputs.into_iter().flatten().find(is_file);
    let directory = match (&config.scratch, output) {
        (Some(scratch), _) => scratch.clone(),
        (None, Some(output)) => parent(output).to_path_buf(),
        (None, None) => std::env::temp_dir(),
    };
    // Without an output, the work is for what is read.
    (directory, output.unwrap_or(&config.files[0]).to_path_buf())
}

/// What the verdicts depend on: another job must not go on with them. How much memory there is
/// makes no difference.
fn job(config: &FilterConfig) -> anyhow::Result<Value> {
    let described = |path: &PathBuf| {
        let read = || format!("cannot read `{}`", path.display());
        let metadata = path.metadata().with_context(read)?;
        let whole = std::path::absolute(path).with_context(read)?;
        let changed = (metadata.mtime(), metadata.mtime_nsec());
        anyhow::Ok(json!([whole.display().to_string(), metadata.len(), changed]))
    };
    let described = |paths: &[PathBuf]| paths.iter().map(described).collect::<Result<Vec<_>, _>>();
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "files": described(&config.files)?,
        "against": described(&config.against)?,
        "threshold": config.threshold.to_string(),
        "compare": config.compared.as_str(),
        "rules": config.rules,
        "reading": format!("{:?}", config.reading),
        "keep_going": config.policy.keep_going,
    }))
}

/// How many bytes of disk the work on these files takes at most, about: the instructions of one
/// part being read and of the next one being written.
fn room(files: &[PathBuf]) -> u64 {
    /// A compressed file has instructions and more; ours are compressed less.
    const OF_PACKED: u64 = 4;
    let size = |file: &PathBuf| {
        let name = file.to_string_lossy().to_ascii_lowercase();
        let is_text = [".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".txt"]
            .iter()
            .any(|ending| name.ends_with(ending));
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        if is_text { size } else { OF_PACKED * size }
    };
    files.iter().map(size).sum()
}

/// The error of files that do not fit and can be read only once.
pub(super) fn only_once(file: &Path) -> anyhow::Error {
    anyhow!(
        "the rows of `{}` do not fit into --memory, and can be read only once\nhint: write them to a file first, or \
         give more --memory",
        file.display()
    )
}
