//! Judges a file of tasks, row by row: the rules, then near-duplicates among the rows kept so far and the files it is
//! compared with. First come, first kept.

use super::index::Index;
use super::rouge::Threshold;
use super::rules::{self, Objection};
use crate::interchange::kept::Kept;
use crate::interchange::read::{self, Incoming, Row, RowReader};
use crate::progress::Progress;
use crate::replace::Replacement;
use crate::task::Task;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Which rules are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleSet {
    /// Those of generation.
    Default,
    /// None: only near-duplicates are judged.
    None,
}

/// What to judge, and how.
#[derive(Debug, Clone)]
pub struct Config {
    /// The rows.
    pub file: PathBuf,
    /// Files whose tasks rows must not be similar to.
    pub against: Vec<PathBuf>,
    /// ROUGE-L F1 above which two instructions count as the same.
    pub threshold: Threshold,
    /// Rules over a row alone.
    pub rules: RuleSet,
    /// Where kept rows go.
    pub out: Option<PathBuf>,
    /// Where verdicts go.
    pub verdicts: Option<PathBuf>,
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Rows read.
    pub rows: usize,
    /// Rows kept.
    pub accepted: usize,
    /// Rows rejected, by reason.
    pub reasons: BTreeMap<&'static str, usize>,
}

/// Judges every row of the file. After an error nothing is written.
pub fn filter(config: &Config, quiet: bool) -> Result<Outcome> {
    let mut index = Index::default();
    // Where a text of the index comes from: its file and row.
    let mut places: Vec<(&Path, usize)> = Vec::new();
    for against in &config.against {
        let mut rows = read::open(against, None)?;
        let mut row = 0;
        while let Some((_, incoming)) = next(&mut rows)? {
            index.push(places.len() as i64, &incoming.task.instruction);
            places.push((against, row));
            row += 1;
        }
    }
    let mut rows = read::open(&config.file, None)?;
    let mut kept = config
        .out
        .as_deref()
        .map(|path| Kept::begin(path, &rows))
        .transpose()?;
    let mut verdicts = config
        .verdicts
        .as_deref()
        .map(|path| Replacement::begin(path).map(BufWriter::new))
        .transpose()?;
    let mut outcome = Outcome {
        rows: 0,
        accepted: 0,
        reasons: BTreeMap::new(),
    };
    let mut bar = Progress::counter("filter", "rows", quiet);
    while let Some((row, Incoming { task, .. })) = next(&mut rows)? {
        let nearest = index
            .nearest(&task.instruction, index.len(), 1)
            .into_iter()
            .next();
        let objection = match config.rules {
            RuleSet::Default => objection(&task),
            RuleSet::None => None,
        };
        let near = nearest.is_some_and(|nearest| config.threshold.is_exceeded_by(nearest.score));
        let reason = objection
            .map(|objection| objection.reason)
            .or(near.then_some("near_duplicate"));
        if let Some(out) = &mut verdicts {
            let source =
                |(file, row): (&Path, usize)| json!({"source": file.display().to_string(), "row": row});
            let verdict = json!({
                "row": outcome.rows,
                "verdict": if reason.is_some() { "rejected" } else { "accepted" },
                "reason": reason,
                "nearest": nearest.map_or(Value::Null, |nearest| source(places[nearest.key as usize])),
                "rouge_l": nearest.map_or(0.0, |nearest| nearest.score.f1()),
            });
            writeln!(out, "{verdict}")?;
        }
        match reason {
            Some(reason) => *outcome.reasons.entry(reason).or_default() += 1,
            None => {
                index.push(places.len() as i64, &task.instruction);
                places.push((&config.file, outcome.rows));
                outcome.accepted += 1;
                if let Some(out) = &mut kept {
                    out.write(&row)?;
                }
            }
        }
        outcome.rows += 1;
        bar.set(outcome.rows as u64, "");
    }
    bar.finish();
    if let Some(out) = kept {
        out.commit()?;
    }
    if let Some(out) = verdicts {
        out.into_inner()
            .context("the disk refused the last rows")?
            .commit()?;
    }
    Ok(outcome)
}

/// The next row and its task. The first error ends the run.
fn next(rows: &mut RowReader) -> Result<Option<(Row, Incoming)>> {
    let Some(row) = rows.next_row().transpose()? else {
        return Ok(None);
    };
    let parser = rows.parser().context("a file with rows has a format")?;
    let incoming = parser.parse(&row)?;
    Ok(Some((row, incoming)))
}

fn objection(task: &Task) -> Option<Objection> {
    rules::judge_instruction(&task.instruction).or_else(|| {
        rules::judge_instances(&task.instruction, &task.instances)
            .into_iter()
            .flatten()
            .next()
    })
}
