//! Filters a file of tasks. Memory holds one batch of rows, and of every row kept so far its words
//! as numbers.

use crate::atomic_file::Lines;
use crate::filter::rouge::Threshold;
use crate::filter::rules::RuleSet;
use crate::filter::screen::{Screen, Submission, verdict_row};
use crate::filter::shared::{self, SharedLines};
use crate::interchange::left_out::{LeftOut, Policy};
use crate::interchange::parse::RowParser;
use crate::interchange::read::{self, RowReader};
use crate::interchange::write::row_writer::RowWriter;
use crate::interchange::{ReadError, Reading, Row};
use crate::progress::ProgressMeter;
use crate::task::{Reason, Task, TaskRef, Verdict};
use crate::text::{counted, one_line};
use anyhow::Result;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Rows in a batch, at most.
const BATCH_ROWS: usize = 8192;
/// Bytes of rows in a batch, approximately.
const BATCH_BYTES: usize = 32 << 20;

/// How to filter a file.
#[derive(Debug, Clone)]
pub struct FilterConfig {
    /// The file.
    pub file: PathBuf,
    /// Evaluation files: rows must not be similar to their tasks, nor contain parts of them.
    pub against: Vec<PathBuf>,
    /// ROUGE-L F1 above which two instructions are near-duplicates.
    pub threshold: Threshold,
    /// The rules for each row.
    pub rules: RuleSet,
    /// Name the most similar row in every verdict, not only in those on near-duplicates.
    pub nearest: bool,
    /// How to read the rows.
    pub reading: Reading,
    /// What to do with rows that cannot be read.
    pub policy: Policy,
    /// The file for kept rows.
    pub out: Option<PathBuf>,
    /// The file for verdicts.
    pub verdicts: Option<PathBuf>,
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

/// Filters the file. After an error, no output is written.
pub fn filter(config: &FilterConfig, quiet: bool) -> Result<FilterCounts> {
    let mut screen = Screen::new(config.rules.clone(), config.threshold, config.nearest);
    add_against(&mut screen, &config.against, &config.reading, quiet)?;
    let mut rows = read::open(&config.file, &config.reading)?;
    let mut left_out = LeftOut::begin(&config.policy, quiet)?;
    let mut out = FilterOutput {
        kept: config
            .out
            .as_deref()
            .map(|path| RowWriter::begin(path, &rows))
            .transpose()?,
        verdicts: config.verdicts.as_deref().map(Lines::begin).transpose()?,
    };
    // File 0 is the filtered one.
    let source = |task: TaskRef| match task {
        TaskRef::Row { file: 0, row } => (config.file.display().to_string(), row.into()),
        task => evaluation_row(&config.against, task),
    };
    let mut bar = match rows.size() {
        Some(size) => ProgressMeter::bytes("filter", size, quiet),
        None => ProgressMeter::counter("filter", "row", quiet),
    };
    let mut counts = FilterCounts::default();
    let mut batch = RowBatch::read(&mut rows)?;
    let shared = batch.shared();
    say_shared(&bar, &config.file, &shared);
    while !batch.rows.is_empty() {
        left_out.looked_at(batch.rows.len() as u64);
        for (row, error) in batch.errors() {
            left_out.leave(error, row)?;
            left_out.lines().for_each(|line| bar.say(&line));
        }
        // Screening ends in a part that one core does alone; the others read on meanwhile.
        batch.remove(&shared);
        let (next, verdicts) = rayon::join(
            || RowBatch::read(&mut rows),
            || batch.verdicts(&mut screen, counts.rows),
        );
        out.write(&batch, &verdicts, counts.rows, source)?;
        verdicts.iter().for_each(|verdict| counts.count(verdict));
        match rows.size() {
            Some(_) => {
                let message = format!("{}, {} kept", counted(counts.rows, "row"), counts.accepted);
                bar.set(rows.bytes_read(), &message);
            }
            None => bar.set(counts.rows, &format!("{} kept", counts.accepted)),
        }
        batch = next?;
    }
    bar.finish();
    left_out.check()?;
    out.commit()?;
    left_out.end()?;
    Ok(counts)
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
        let mut batch = RowBatch::read(&mut rows)?;
        let shared = batch.shared();
        while !batch.rows.is_empty() {
            batch.remove(&shared);
            for (_, task) in &batch.rows {
                let task = task.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
                take(TaskRef::Row { file: number, row }, task);
                row += 1;
            }
            bar.set(u64::from(row), "");
            batch = RowBatch::read(&mut rows)?;
        }
        bar.finish();
    }
    Ok(())
}

/// Rows of a file, each with its task or the error of reading it.
struct RowBatch {
    /// The row is `None` where not even its end was found.
    rows: Vec<(Option<Row>, Result<Task, ReadError>)>,
}

impl RowBatch {
    /// Reads the next rows; the batch is empty at the end of the file. Fails on an error of the
    /// file itself.
    fn read(reader: &mut RowReader) -> Result<RowBatch, ReadError> {
        let (mut raw, mut bytes) = (Vec::new(), 0);
        while raw.len() < BATCH_ROWS && bytes < BATCH_BYTES {
            match reader.next_row() {
                None => break,
                Some(Err(error)) if !error.is_of_a_row() => return Err(error),
                Some(row) => {
                    bytes += row.as_ref().map_or(0, |row| row.text.len());
                    raw.push(row);
                }
            }
        }
        let parser = reader.parser();
        let rows = raw
            .into_par_iter()
            .map(|row| match (row, parser) {
                (Ok(row), Some(parser)) => {
                    let task = task_of(parser, &row);
                    (Some(row), task)
                }
                (Ok(_), None) => unreachable!("a file with rows has a format, or is not opened"),
                (Err(error), _) => (None, Err(error)),
            })
            .collect();
        Ok(RowBatch { rows })
    }

    /// The lines that all rows of this batch share. The first batch of a file decides.
    fn shared(&self) -> SharedLines {
        SharedLines::of(self.rows.iter().filter_map(|(_, task)| task.as_ref().ok()))
    }

    /// Removes shared lines from the tasks. The texts of the rows, which are written, keep them.
    fn remove(&mut self, shared: &SharedLines) {
        self.rows
            .par_iter_mut()
            .filter_map(|(_, task)| task.as_mut().ok())
            .for_each(|task| shared.remove_from(task));
    }

    /// The rows that cannot be read, with the errors.
    fn errors(&self) -> impl Iterator<Item = (Option<&Row>, &ReadError)> {
        self.rows
            .iter()
            .filter_map(|(row, task)| Some((row.as_ref(), task.as_ref().err()?)))
    }

    /// Returns a verdict on each row. The first row of the batch has the number `first` in the
    /// file.
    fn verdicts(&self, screen: &mut Screen, first: u64) -> Vec<Verdict> {
        let submissions: Vec<Submission<'_>> = (first as u32..)
            .zip(&self.rows)
            .filter_map(|(row, (_, task))| {
                Some(Submission {
                    task_ref: TaskRef::Row { file: 0, row },
                    task: task.as_ref().ok()?,
                    is_certain: false,
                })
            })
            .collect();
        let mut of_tasks = screen.verdicts(&submissions).into_iter();
        self.rows
            .iter()
            .map(|(_, task)| match task {
                Ok(_) => of_tasks.next().expect("a verdict for each task"),
                Err(error) => Verdict::rejected(Reason::Malformed, error.to_string()),
            })
            .collect()
    }
}

fn task_of(parser: &RowParser, row: &Row) -> Result<Task, ReadError> {
    let mut task = parser.parse(row)?.task;
    shared::split_layout(&mut task);
    Ok(task)
}

/// Tells the user that shared lines are ignored, since this may surprise.
fn say_shared(bar: &ProgressMeter, file: &Path, shared: &SharedLines) {
    let (lines, first) = shared.lines();
    if lines > 0 {
        bar.say(&format!(
            "{}: all rows share {} ('{}'), which {} not compared",
            file.display(),
            counted(lines as u64, "line"),
            one_line(first, 60),
            if lines == 1 { "is" } else { "are" }
        ));
    }
}

/// The output files. They appear together at the end, or not at all.
struct FilterOutput {
    kept: Option<RowWriter>,
    verdicts: Option<Lines>,
}

impl FilterOutput {
    /// Writes a batch. Its first row has the number `first` in the file.
    fn write(
        &mut self,
        batch: &RowBatch,
        verdicts: &[Verdict],
        first: u64,
        source: impl Fn(TaskRef) -> (String, i64) + Sync,
    ) -> Result<()> {
        if let Some(kept) = &mut self.kept {
            for ((row, _), verdict) in batch.rows.iter().zip(verdicts) {
                if let Some(row) = row
                    && verdict.is_accepted()
                {
                    kept.write(row)?;
                }
            }
        }
        if let Some(out) = &mut self.verdicts {
            let lines: Vec<String> = verdicts
                .par_iter()
                .enumerate()
                .map(|(i, verdict)| verdict_row(verdict, first + i as u64, &source).to_string())
                .collect();
            for line in lines {
                out.line(&line)?;
            }
        }
        Ok(())
    }

    fn commit(self) -> Result<()> {
        if let Some(kept) = self.kept {
            kept.commit()?;
        }
        if let Some(verdicts) = self.verdicts {
            verdicts.commit()?;
        }
        Ok(())
    }
}
