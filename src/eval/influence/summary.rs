//! What people read at the end: the rows that helped and hurt most, and what can be done with them.

use super::dataset::{Dataset, InfluenceRun};
use super::rows::EncodedRows;
use anyhow::Result;
use ewe::job::influence::ProjectionNoise;
use ewe::store::curation::influence::StrongInfluence;
use ewe::text::{chosen, counted, one_line, shell_word};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

/// Rows shown of either kind.
const SHOWN: i64 = 10;
/// Width of a row's first words.
const WIDTH: usize = 70;

/// Prints the summary to standard output. `noise` is that of the projection, if there is one.
pub fn print(
    db: &Path,
    dataset: &Dataset,
    run: &InfluenceRun,
    encoded: &EncodedRows,
    noise: Option<ProjectionNoise>,
) -> Result<()> {
    let (all, above) = dataset.counts(run)?;
    let [helped, hurt] = dataset.strongest(run, SHOWN)?;
    let mut out = ewe::streams::stdout();
    writeln!(
        out,
        "of {}, {} the loss on {}",
        counted(all, "row"),
        chosen(above, "lowers", "lower"),
        counted(encoded.held_out.len(), "held-out task")
    )?;
    let hurt: Vec<StrongInfluence> = hurt.into_iter().filter(|row| row.value < 0.0).collect();
    let helped: Vec<StrongInfluence> = helped.into_iter().filter(|row| row.value > 0.0).collect();
    for (title, rows) in [("helped most", &helped), ("hurt most", &hurt)] {
        if !rows.is_empty() {
            writeln!(out, "\n{title}:")?;
        }
        for row in rows {
            let words = one_line(&row.instruction, WIDTH);
            writeln!(out, "  {:+.4}  task {}  {words}", row.value, row.task_id)?;
        }
    }
    let values: Vec<f64> = helped.iter().chain(&hurt).map(|row| row.value).collect();
    if let Some(remark) = noise.and_then(|noise| noise.remark(&values)) {
        writeln!(out, "\n{remark}: more --dimensions can")?;
    }
    let db = shell_word(db);
    writeln!(out, "\nnext:\n  `ewe list --db {db} --sort influence`")?;
    let tasks: BTreeSet<i64> = hurt.iter().map(|row| row.task_id).collect();
    if !tasks.is_empty() {
        let ids: Vec<String> = tasks.iter().map(i64::to_string).collect();
        writeln!(out, "  `ewe reject --db {db} {}`", ids.join(" "))?;
    }
    writeln!(
        out,
        "  `ewe train --db {db} --where \"influence > 0\" --model MODEL --out OUT`"
    )?;
    Ok(())
}
