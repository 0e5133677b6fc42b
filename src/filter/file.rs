//! Judges a file of tasks, row by row, in bounded memory: what is held is a batch of rows and, of every row that was
//! kept, its words as numbers.

use super::rouge::Threshold;
use super::rules::RuleSet;
use super::screen::{Candidate, Place, Screen, Verdict};
use super::shared::{self, Shared};
use crate::atomic_file::Lines;
use crate::interchange::kept::Kept;
use crate::interchange::left_out::{LeftOut, Policy};
use crate::interchange::parse::Parser;
use crate::interchange::read::{self, ReadError, Reading, RowReader};
use crate::interchange::rows::Row;
use crate::progress::Progress;
use crate::task::Task;
use crate::text::{counted, one_line};
use anyhow::Result;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Rows that are judged together, at most.
const BATCH_ROWS: usize = 8192;
/// Bytes of rows that are judged together, about.
const BATCH_BYTES: usize = 32 << 20;

/// Reason code of a row that cannot be read as a task.
pub const MALFORMED: &str = "malformed";

/// What to judge, and how.
#[derive(Debug, Clone)]
pub struct Config {
    /// The rows.
    pub file: PathBuf,
    /// Files whose tasks rows must not be similar to, or contain.
    pub against: Vec<PathBuf>,
    /// ROUGE-L F1 above which two instructions count as the same.
    pub threshold: Threshold,
    /// Rules over a row alone.
    pub rules: RuleSet,
    /// Name the most similar row of every row, not of near-duplicates only.
    pub nearest: bool,
    /// How the rows are read.
    pub reading: Reading,
    /// What happens to rows that cannot be read.
    pub policy: Policy,
    /// Where kept rows go.
    pub out: Option<PathBuf>,
    /// Where verdicts go.
    pub verdicts: Option<PathBuf>,
}

/// How it went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Rows read.
    pub rows: u64,
    /// Rows kept.
    pub accepted: u64,
    /// Rows rejected, by reason.
    pub reasons: BTreeMap<&'static str, u64>,
}

impl Outcome {
    /// Counts a verdict.
    pub fn count(&mut self, verdict: &Verdict) {
        self.rows += 1;
        match verdict.reason {
            Some(reason) => *self.reasons.entry(reason).or_default() += 1,
            None => self.accepted += 1,
        }
    }
}

/// Judges every row of the file. After an error nothing is written.
pub fn filter(config: &Config, quiet: bool) -> Result<Outcome> {
    let mut judge = Screen::new(config.rules.clone(), config.threshold, config.nearest);
    add_against(&mut judge, &config.against, &config.reading, quiet)?;
    let mut rows = read::open(&config.file, &config.reading)?;
    let mut left_out = LeftOut::begin(&config.policy, quiet)?;
    let mut out = Out {
        kept: config
            .out
            .as_deref()
            .map(|path| Kept::begin(path, &rows))
            .transpose()?,
        verdicts: config.verdicts.as_deref().map(Lines::begin).transpose()?,
    };
    let source = |source: u32| {
        let against = source.checked_sub(1).map(|i| &config.against[i as usize]);
        against.unwrap_or(&config.file).display().to_string()
    };
    let mut bar = match rows.size() {
        Some(size) => Progress::bytes("filter", size, quiet),
        None => Progress::counter("filter", "row", quiet),
    };
    let mut outcome = Outcome::default();
    let mut batch = Batch::read(&mut rows)?;
    let shared = batch.shared();
    say_shared(&bar, &config.file, &shared);
    while !batch.rows.is_empty() {
        left_out.looked_at(batch.rows.len() as u64);
        for (row, error) in batch.errors() {
            left_out.leave(error, row)?;
            left_out.lines().for_each(|line| bar.say(&line));
        }
        // Judging ends in a part that one core does alone; the others read on meanwhile.
        batch.leave_out(&shared);
        let (next, verdicts) = rayon::join(
            || Batch::read(&mut rows),
            || batch.judge(&mut judge, outcome.rows),
        );
        out.write(&batch, &verdicts, outcome.rows, source)?;
        verdicts.iter().for_each(|verdict| outcome.count(verdict));
        match rows.size() {
            Some(_) => {
                let message = format!("{}, {} kept", counted(outcome.rows, "row"), outcome.accepted);
                bar.set(rows.bytes_read(), &message);
            }
            None => bar.set(outcome.rows, &format!("{} kept", outcome.accepted)),
        }
        batch = next?;
    }
    bar.finish();
    left_out.check()?;
    out.commit()?;
    left_out.end()?;
    Ok(outcome)
}

/// Reads the files that rows must not be similar to; `reading` is how the rows themselves are read. A row of these files that
/// cannot be read is an error always: nobody wants to believe that data is clean which was never looked for.
pub fn add_against(judge: &mut Screen, files: &[PathBuf], reading: &Reading, quiet: bool) -> Result<()> {
    for (source, file) in (1..).zip(files) {
        let mut rows = read::open_beside(file, reading)?;
        let mut bar = Progress::counter(&format!("reading {}", file.display()), "row", quiet);
        let mut row = 0;
        let mut batch = Batch::read(&mut rows)?;
        let shared = batch.shared();
        while !batch.rows.is_empty() {
            batch.leave_out(&shared);
            for (_, task) in &batch.rows {
                let task = task.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
                judge.add_against(Place { source, row }, task);
                row += 1;
            }
            bar.set(u64::from(row), "");
            batch = Batch::read(&mut rows)?;
        }
        bar.finish();
    }
    Ok(())
}

/// Rows of a file, each with the task it says or the reason why it says none.
struct Batch {
    /// No row where not even its end was found.
    rows: Vec<(Option<Row>, Result<Task, ReadError>)>,
}

impl Batch {
    /// The next rows; none at the end of the file. An error of the file itself ends everything.
    fn read(reader: &mut RowReader) -> Result<Batch, ReadError> {
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
        Ok(Batch { rows })
    }

    /// What all rows share, as far as this first batch of a file says.
    fn shared(&self) -> Shared {
        Shared::of(self.rows.iter().filter_map(|(_, task)| task.as_ref().ok()))
    }

    /// Leaves of each task what it says itself. What is written of a row is its text, which stays.
    fn leave_out(&mut self, shared: &Shared) {
        self.rows
            .par_iter_mut()
            .filter_map(|(_, task)| task.as_mut().ok())
            .for_each(|task| shared.leave_out(task));
    }

    /// Rows that cannot be read, and why.
    fn errors(&self) -> impl Iterator<Item = (Option<&Row>, &ReadError)> {
        self.rows
            .iter()
            .filter_map(|(row, task)| Some((row.as_ref(), task.as_ref().err()?)))
    }

    /// A verdict for each row, the first of which is the file's `first`-th.
    fn judge(&self, judge: &mut Screen, first: u64) -> Vec<Verdict> {
        let candidates: Vec<Candidate<'_>> = (first as u32..)
            .zip(&self.rows)
            .filter_map(|(row, (_, task))| {
                Some(Candidate {
                    place: Place { source: 0, row },
                    task: task.as_ref().ok()?,
                    certain: false,
                })
            })
            .collect();
        let mut judged = judge.judge(&candidates).into_iter();
        self.rows
            .iter()
            .map(|(_, task)| match task {
                Ok(_) => judged.next().expect("a verdict for each task"),
                Err(error) => Verdict::rejected(MALFORMED, error.to_string()),
            })
            .collect()
    }
}

fn task_of(parser: &Parser, row: &Row) -> Result<Task, ReadError> {
    let mut task = parser.parse(row)?.task;
    shared::lay_apart(&mut task);
    Ok(task)
}

/// Says what is not compared, for it may surprise.
fn say_shared(bar: &Progress, file: &Path, shared: &Shared) {
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

/// The files that are written; all appear in the end, or none.
struct Out {
    kept: Option<Kept>,
    verdicts: Option<Lines>,
}

impl Out {
    /// Writes a batch, the first row of which is the file's `first`-th.
    fn write(
        &mut self,
        batch: &Batch,
        verdicts: &[Verdict],
        first: u64,
        source: impl Fn(u32) -> String + Sync,
    ) -> Result<()> {
        if let Some(kept) = &mut self.kept {
            for ((row, _), verdict) in batch.rows.iter().zip(verdicts) {
                if let (Some(row), None) = (row, verdict.reason) {
                    kept.write(row)?;
                }
            }
        }
        if let Some(out) = &mut self.verdicts {
            let lines: Vec<String> = verdicts
                .par_iter()
                .enumerate()
                .map(|(i, verdict)| verdict.to_json(first + i as u64, &source).to_string())
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
