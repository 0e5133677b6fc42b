//! Evaluation files: what filtered rows must not be similar to.

use std::path::PathBuf;

use anyhow::Result;

use super::rows::{BATCH_ROWS, RowBatch};
use crate::filter::kept::Kept;
use crate::filter::screen::{Checks, Screen};
use crate::interchange::{Reading, read};
use crate::progress::ProgressMeter;
use crate::task::{Task, TaskRef};

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
