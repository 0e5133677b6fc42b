//! Filters files of tasks. Memory holds one batch of rows, and of every row kept so far its words as
//! numbers; or with a limit of memory, those of a part of them.

use super::output::FilterOutput;
use super::partitioned::{self, Decided};
use super::rows::{BATCH_ROWS, InputRows, RowBatch};
use crate::filter::kept::Kept;
use crate::filter::rouge::Threshold;
use crate::filter::rules::RuleSet;
use crate::filter::screen::{Checks, Screen};
use crate::interchange::left_out::{LeftOut, Policy};
use crate::interchange::{Reading, parts, read};
use crate::progress::ProgressMeter;
use crate::task::{Reason, Task, TaskRef, Verdict};
use crate::text::counted;
use anyhow::Result;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How to filter files.
#[derive(Debug, Clone)]
pub struct FilterConfig {
    /// The files, of which there is at least one. Their rows are those of one dataset, in this
    /// order.
    pub files: Vec<PathBuf>,
    /// Evaluation files: rows must not be similar to their tasks, nor contain parts of them.
    pub against: Vec<PathBuf>,
    /// ROUGE-L F1 above which two instructions are near-duplicates.
    pub threshold: Threshold,
    /// The rules for each row.
    pub rules: RuleSet,
    /// Compare rows with those of `against` only, not with one another.
    pub apart: bool,
    /// Name the most similar row in every verdict, not only in those on near-duplicates.
    pub nearest: bool,
    /// How to read the rows.
    pub reading: Reading,
    /// What to do with rows that cannot be read.
    pub policy: Policy,
    /// The file for kept rows; a folder of files, if each has so many rows.
    pub out: Option<PathBuf>,
    /// Rows in each file of the folder.
    pub rows_per_file: Option<u64>,
    /// The file for verdicts.
    pub verdicts: Option<PathBuf>,
    /// The bytes of memory that the program may take; without it, as many as it needs.
    pub memory: Option<u64>,
    /// The folder for files in between, if not all rows kept fit into memory.
    pub scratch: Option<PathBuf>,
}

/// What became of the rows of files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filtered {
    /// The rows.
    pub counts: FilterCounts,
    /// How many parts of the rows kept were compared one after another, if memory has a limit.
    pub parts: Option<usize>,
    /// How many files were written into the folder, if it is one.
    pub files: Option<usize>,
}

/// How many rows or tasks the filter kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilterCounts {
    /// All rows.
    pub rows: u64,
    /// Accepted rows.
    pub accepted: u64,
    /// Rejected rows, by reason.
    pub reasons: BTreeMap<Reason, u64>,
}

impl FilterCounts {
    /// Counts a verdict.
    pub fn count(&mut self, verdict: &Verdict) {
        self.rows += 1;
        match verdict.reason {
            Some(reason) => *self.reasons.entry(reason).or_default() += 1,
            None => self.accepted += 1,
        }
    }
}

/// Who gives the verdicts.
enum Judge {
    /// The rows kept so far, in memory.
    Screen(Box<Screen>),
    /// All were given before.
    Decided(Decided),
}

impl Judge {
    /// Returns a verdict on each row of a batch. Its first row has the number `first`.
    fn verdicts(&mut self, batch: &RowBatch, first: u64) -> Result<Vec<Verdict>> {
        match self {
            Judge::Screen(screen) => Ok(batch.verdicts(screen, first)),
            Judge::Decided(decided) => decided.next(first, batch.rows.len()),
        }
    }
}

/// Filters the files. After an error, no output is written.
pub fn filter(config: &FilterConfig, quiet: bool) -> Result<Filtered> {
    let config = &FilterConfig {
        files: parts::expanded(&config.files)?,
        ..config.clone()
    };
    let mut screen = Screen::new(config.rules.clone(), config.threshold, config.nearest);
    if config.apart {
        screen = screen.apart();
    }
    let limit = config.memory.map(partitioned::limit);
    let is_parted = limit.is_some_and(|limit| !surely_fits(config, limit));
    if !is_parted {
        add_against(&mut screen, &config.against, &config.reading, quiet)?;
    }
    let mut rows = InputRows::begin(&config.files, &config.reading, BATCH_ROWS)?;
    let mut left_out = LeftOut::begin(&config.policy, quiet)?;
    let mut out = FilterOutput::begin(config, rows.first())?;
    let mut judge = match config.memory {
        Some(memory) if is_parted => Judge::Decided(partitioned::decide(config, memory, quiet)?),
        _ => Judge::Screen(Box::new(screen)),
    };
    let mut bar = match rows.size() {
        Some(size) => ProgressMeter::bytes("filter", size, quiet),
        None => ProgressMeter::counter("filter", "row", quiet),
    };
    let mut counts = FilterCounts::default();
    let mut batch = rows.next_batch()?;
    while !batch.rows.is_empty() {
        rows.notes().for_each(|note| bar.say(&note));
        left_out.looked_at(batch.rows.len() as u64);
        for (row, error) in batch.errors() {
            left_out.leave(error, row)?;
            left_out.lines().for_each(|line| bar.say(&line));
        }
        // Screening ends in a part that one core does alone; the others read on meanwhile.
        let (next, verdicts) = rayon::join(|| rows.next_batch(), || judge.verdicts(&batch, counts.rows));
        let verdicts = verdicts?;
        let places = rows.places();
        // File 0 stands for all that are filtered.
        let source = |task: TaskRef| match task {
            TaskRef::Row { file: 0, row } => places.named(row.into()),
            task => evaluation_row(&config.against, task),
        };
        out.write(&batch, &verdicts, counts.rows, source)?;
        verdicts.iter().for_each(|verdict| counts.count(verdict));
        match rows.size() {
            Some(_) => {
                let message = format!("{}, {} kept", counted(counts.rows, "row"), counts.accepted);
                bar.set(rows.bytes_read(), &message);
            }
            None => bar.set(counts.rows, &format!("{} kept", counts.accepted)),
        }
        if let (Judge::Screen(screen), Some(limit)) = (&judge, limit)
            && screen.bytes() > limit
        {
            return Err(partitioned::only_once(&config.files[0]));
        }
        batch = next?;
    }
    bar.finish();
    left_out.check()?;
    let files = out.commit()?;
    left_out.end()?;
    let parts = match judge {
        Judge::Screen(_) => limit.map(|_| 1),
        Judge::Decided(decided) => {
            let parts = decided.parts();
            decided.end();
            Some(parts)
        }
    };
    Ok(Filtered { counts, parts, files })
}

/// Whether the words of all rows take no more than so many bytes of memory, whatever the rows are;
/// or nothing can be done about it, since the rows can be read only once.
fn surely_fits(config: &FilterConfig, limit: usize) -> bool {
    /// Bytes of memory for each byte of a file, at most: a word that no other row has takes the
    /// most, of two or three letters and compressed.
    const MOST: u64 = 1000;
    let size = |file: &PathBuf| {
        let metadata = file.metadata().ok()?;
        (metadata.is_file() || metadata.is_dir()).then_some(metadata.len())
    };
    match config.files.iter().map(size).collect::<Option<Vec<u64>>>() {
        Some(sizes) => sizes.iter().sum::<u64>().saturating_mul(MOST) <= limit as u64,
        None => true,
    }
}

/// The name of the evaluation file that a row is in, with the row. Evaluation files are numbered
/// from 1.
pub fn evaluation_row(files: &[PathBuf], task: TaskRef) -> (String, i64) {
    match task {
        TaskRef::Row { file, row } => (files[file as usize - 1].display().to_string(), row.into()),
        TaskRef::Stored(_) | TaskRef::Fresh(_) => unreachable!("evaluation tasks are rows of files"),
    }
}

/// Adds the tasks of evaluation files to `screen`. `reading` says how the filtered rows are read. A
/// row of an evaluation file that cannot be read is always an error: data must not pass as clean
/// because some of what to look for was skipped.
pub fn add_against(screen: &mut Screen, files: &[PathBuf], reading: &Reading, quiet: bool) -> Result<()> {
    each_task(files, reading, quiet, |task_ref, task| {
        screen.add_against(task_ref, task)
    })
}

/// Adds the tasks of evaluation files to `checks`, or to `kept`, like [`add_against`].
pub(super) fn add_against_to(
    checks: &mut Checks,
    kept: &mut Kept,
    files: &[PathBuf],
    reading: &Reading,
    quiet: bool,
) -> Result<()> {
    each_task(files, reading, quiet, |task_ref, task| {
        checks.add_against(kept, task_ref, task)
    })
}

/// Calls `take` with each task of files, without the lines that all rows of a file share. Files are
/// numbered from 1, their rows from 0.
///
/// # Errors
///
/// If a file or any of its rows cannot be read.
pub fn each_task(
    files: &[PathBuf],
    reading: &Reading,
    quiet: bool,
    mut take: impl FnMut(TaskRef, &Task),
) -> Result<()> {
    for (number, file) in (1..).zip(files) {
        let mut rows = read::open_beside(file, reading)?;
        let mut bar = ProgressMeter::counter(&format!("reading {}", file.display()), "row", quiet);
        let mut row = 0;
        let mut batch = RowBatch::read(&mut rows, BATCH_ROWS)?;
        let shared = batch.shared();
        while !batch.rows.is_empty() {
            batch.remove(&shared);
            for (_, task) in &batch.rows {
                let task = task.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
                take(TaskRef::Row { file: number, row }, task);
                row += 1;
            }
            bar.set(u64::from(row), "");
            batch = RowBatch::read(&mut rows, BATCH_ROWS)?;
        }
        bar.finish();
    }
    Ok(())
}
