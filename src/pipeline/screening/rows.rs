//! Rows of one or several files, a batch at a time, each with its task.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::filter::screen::{Screen, Submission};
use crate::filter::shared::{self, SharedLines};
use crate::interchange::parse::RowParser;
use crate::interchange::read::{self, RowReader};
use crate::interchange::{ReadError, Reading, Row, turns};
use crate::task::{Instance, Reason, Task, TaskRef, Turn, Verdict};
use crate::text::{counted, one_line};

/// Rows in a batch, at most.
pub(super) const BATCH_ROWS: usize = 8192;
/// Bytes of rows in a batch, approximately.
const BATCH_BYTES: usize = 32 << 20;

/// Rows of a file, each with its task or the error of reading it.
#[derive(Default)]
pub(super) struct RowBatch {
    /// The row is `None` where not even its end was found.
    pub(super) rows: Vec<(Option<Row>, Result<Task, ReadError>)>,
}

impl RowBatch {
    /// Reads the next rows, `most` at most; the batch is empty at the end of the file. Fails on an
    /// error of the file itself.
    pub(super) fn read(reader: &mut RowReader, most: usize) -> Result<RowBatch, ReadError> {
        let (mut raw, mut bytes) = (Vec::new(), 0);
        while raw.len() < most && bytes < BATCH_BYTES {
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
    pub(super) fn shared(&self) -> SharedLines {
        SharedLines::of(self.rows.iter().filter_map(|(_, task)| task.as_ref().ok()))
    }

    /// Removes shared lines from the tasks. The texts of the rows, which are written, keep them.
    pub(super) fn remove(&mut self, shared: &SharedLines) {
        self.rows
            .par_iter_mut()
            .filter_map(|(_, task)| task.as_mut().ok())
            .for_each(|task| shared.remove_from(task));
    }

    /// The rows that cannot be read, with the errors.
    pub(super) fn errors(&self) -> impl Iterator<Item = (Option<&Row>, &ReadError)> {
        self.rows
            .iter()
            .filter_map(|(row, task)| Some((row.as_ref(), task.as_ref().err()?)))
    }

    /// Returns a verdict on each row. The first row of the batch has the number `first`.
    pub(super) fn verdicts(&self, screen: &mut Screen, first: u64) -> Vec<Verdict> {
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
                Err(error) => malformed(error),
            })
            .collect()
    }
}

/// The verdict on a row that cannot be read.
pub(super) fn malformed(error: &ReadError) -> Verdict {
    Verdict::rejected(Reason::Malformed, error.to_string())
}

fn task_of(parser: &RowParser, row: &Row) -> Result<Task, ReadError> {
    let parsed = parser.parse(row)?;
    let (mut task, turns) = (parsed.task, parsed.turns);
    for (instance, turns) in task.instances.iter_mut().zip(&turns) {
        task.later.extend(with_answers(instance, turns));
    }
    shared::split_layout(&mut task);
    Ok(task)
}

/// Gives an instance the first answer of its conversation that is a text. Returns the later ones,
/// with their questions.
pub(super) fn with_answers(instance: &mut Instance, turns: &[Turn]) -> Vec<Instance> {
    if turns.is_empty() {
        return Vec::new();
    }
    let mut exchanges = turns::exchanges(&instance.output, turns);
    if !exchanges.is_empty() {
        instance.output = exchanges.remove(0).output;
    }
    exchanges
}

/// Reads the rows of files one after another. They are numbered through all files, from 0.
pub(super) struct InputRows<'a> {
    files: &'a [PathBuf],
    reading: &'a Reading,
    /// The file that is being read, and the lines that all its rows share once they are known.
    reader: Option<(RowReader, Option<SharedLines>)>,
    /// For each file begun, how many rows were in those before it.
    starts: Vec<u64>,
    /// How many rows were read.
    rows: u64,
    /// The sizes of all files together, if they are known, and of those read to their end.
    size: Option<u64>,
    read: u64,
    /// Rows in a batch, at most.
    most: usize,
    /// What the user is told, since it may surprise.
    notes: Vec<String>,
}

impl<'a> InputRows<'a> {
    /// Opens the first of `files`, of which there is at least one.
    pub(super) fn begin(
        files: &'a [PathBuf],
        reading: &'a Reading,
        most: usize,
    ) -> Result<InputRows<'a>, ReadError> {
        let first = read::open(&files[0], reading)?;
        let others = files[1..].iter().map(|file| size_on_disk(file));
        Ok(InputRows {
            size: others
                .chain([first.size()])
                .try_fold(0, |sum, size| Some(sum + size?)),
            files,
            reading,
            reader: Some((first, None)),
            starts: vec![0],
            rows: 0,
            read: 0,
            most,
            notes: Vec::new(),
        })
    }

    /// The reader of the first file, until the first batch was read.
    pub(super) fn first(&self) -> &RowReader {
        let (reader, _) = self.reader.as_ref().expect("it was opened");
        reader
    }

    /// Reads the next batch, without the lines that all rows of a file share; it is empty at the
    /// end of the last file.
    pub(super) fn next_batch(&mut self) -> Result<RowBatch, ReadError> {
        loop {
            let Some((reader, shared)) = &mut self.reader else {
                let Some(file) = self.files.get(self.starts.len()) else {
                    return Ok(RowBatch::default());
                };
                self.reader = Some((read::open(file, self.reading)?, None));
                self.starts.push(self.rows);
                continue;
            };
            let mut batch = RowBatch::read(reader, self.most)?;
            if batch.rows.is_empty() {
                self.read += reader.size().unwrap_or(0);
                self.reader = None;
                continue;
            }
            let file = &self.files[self.starts.len() - 1];
            let shared = shared.get_or_insert_with(|| {
                let shared = batch.shared();
                self.notes.extend(note(file, &shared));
                shared
            });
            batch.remove(shared);
            self.rows += batch.rows.len() as u64;
            return Ok(batch);
        }
    }

    /// Takes what the user is to be told.
    pub(super) fn notes(&mut self) -> impl Iterator<Item = String> + '_ {
        self.notes.drain(..)
    }

    /// The sizes of all files together in bytes, if they are known.
    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }

    /// How many bytes were read.
    pub(super) fn bytes_read(&self) -> u64 {
        self.read + self.reader.as_ref().map_or(0, |(reader, _)| reader.bytes_read())
    }

    /// Where the rows are that were read.
    pub(super) fn places(&self) -> Places<'_> {
        Places {
            files: self.files,
            starts: &self.starts,
        }
    }
}

/// Which row is in which file.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    files: &'a [PathBuf],
    /// For each file begun, how many rows were in those before it.
    starts: &'a [u64],
}

impl Places<'_> {
    /// The name of the file of a row, and the row's number there.
    pub(super) fn named(self, row: u64) -> (String, i64) {
        let file = self.starts.partition_point(|&start| start <= row) - 1;
        let number = row - self.starts[file];
        (self.files[file].display().to_string(), number as i64)
    }
}

/// The size of a file, or of a folder that `datasets` saved; `None` for a pipe or a device.
fn size_on_disk(path: &Path) -> Option<u64> {
    let metadata = path.metadata().ok()?;
    if !metadata.is_dir() {
        return metadata.is_file().then_some(metadata.len());
    }
    let entries = std::fs::read_dir(path).ok()?.flatten();
    Some(
        entries
            .filter_map(|entry| Some(entry.metadata().ok()?.len()))
            .sum(),
    )
}

fn note(file: &Path, shared: &SharedLines) -> Option<String> {
    let (lines, first) = shared.lines();
    (lines > 0).then(|| {
        format!(
            "{}: all rows share {} ('{}'), which {} not compared",
            file.display(),
            counted(lines as u64, "line"),
            one_line(first, 60),
            if lines == 1 { "is" } else { "are" }
        )
    })
}
