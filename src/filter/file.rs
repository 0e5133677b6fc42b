//! Judges a file of tasks, row by row: the rules, then near-duplicates among the rows kept so far and the files it is
//! compared with. First come, first kept.

use super::index::Index;
use super::rouge::Threshold;
use super::rules::RuleSet;
use crate::interchange::read::Reader;
use crate::progress::Progress;
use crate::replace::Replacement;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

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
        for (row, task) in reader(against)?.enumerate() {
            index.push(places.len() as i64, &task?.task.instruction);
            places.push((against, row));
        }
    }
    let mut kept = config
        .out
        .as_deref()
        .map(|path| Replacement::begin(path).map(BufWriter::new))
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
    let mut rows = reader(&config.file)?;
    while let Some((text, task)) = rows.next_with_text() {
        let task = task?.task;
        let nearest = index
            .nearest(&task.instruction, index.len(), 1)
            .into_iter()
            .next();
        let objection = config.rules.judge_task(&task);
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
                    write_row(out, &text)?;
                }
            }
        }
        outcome.rows += 1;
        bar.set(outcome.rows as u64, "");
    }
    bar.finish();
    for out in [kept, verdicts].into_iter().flatten() {
        out.into_inner()
            .context("the disk refused the last rows")?
            .commit()?;
    }
    Ok(outcome)
}

fn reader(path: &Path) -> Result<Reader<BufReader<File>>> {
    let file = File::open(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(Reader::new(
        BufReader::with_capacity(1 << 16, file),
        &path.display().to_string(),
        None,
    ))
}

/// A row of a JSON array may take several lines; in JSON lines it takes one.
fn write_row(out: &mut impl Write, text: &[u8]) -> Result<()> {
    if text.contains(&b'\n') {
        let value: Value = serde_json::from_slice(text)?;
        writeln!(out, "{value}")?;
    } else {
        out.write_all(text.trim_ascii())?;
        out.write_all(b"\n")?;
    }
    Ok(())
}
