//! Filters files of tasks. Memory holds one batch of rows, and of every row kept so far its words
//! as numbers; or with a limit of memory, those of a part of them.

use super::against::{add_against, evaluation_row};
use super::config::FilterConfig;
use super::output::FilterOutput;
use super::partitioned::{self, Decided};
use super::rows::{BATCH_ROWS, InputRows, RowBatch};
use crate::filter::screen::Screen;
use crate::interchange::left_out::LeftOut;
use crate::interchange::parts;
use crate::progress::ProgressMeter;
use crate::task::{Reason, TaskRef, Verdict};
use crate::text::counted;
use anyhow::Result;
use std::collections::BTreeMap;
use std::path::PathBuf;

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
    let mut screen =
        Screen::new(config.rules.clone(), config.threshold, config.nearest).comparing(config.compared);
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
