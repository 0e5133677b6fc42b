//! What people read at the end: the rows that helped and hurt most, and what can be done with them.

use super::dataset::{Dataset, InfluenceRun};
use super::rows::EncodedRows;
use anyhow::Result;
use ewe::job::influence::ProjectionNoise;
use ewe::next::NextCommands;
use ewe::store::curation::influence::StrongInfluence;
use ewe::text::{chosen, counted, one_line, shell_word};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

/// Rows shown of either kind.
const SHOWN: i64 = 10;
/// Width of a row's first words.
const WIDTH: usize = 70;

/// The rows that helped and hurt most, and how many there are.
pub struct Summary<'a> {
    encoded: &'a EncodedRows,
    run: i64,
    all: i64,
    above: i64,
    helped: Vec<StrongInfluence>,
    hurt: Vec<StrongInfluence>,
    noise: Option<ProjectionNoise>,
}

impl Summary<'_> {
    /// Reads what `run` stored. `noise` is that of the projection, if there is one.
    pub fn read<'a>(
        dataset: &Dataset,
        run: &InfluenceRun,
        encoded: &'a EncodedRows,
        noise: Option<ProjectionNoise>,
    ) -> Result<Summary<'a>> {
        let (all, above) = dataset.counts(run)?;
        let [helped, hurt] = dataset.strongest(run, SHOWN)?;
        Ok(Summary {
            encoded,
            run: run.id,
            all,
            above,
            helped: helped.into_iter().filter(|row| row.value > 0.0).collect(),
            hurt: hurt.into_iter().filter(|row| row.value < 0.0).collect(),
            noise,
        })
    }

    /// Prints it to standard output: for people, or as JSON.
    pub fn print(&self, as_json: bool) -> Result<()> {
        let mut out = ewe::streams::stdout();
        if as_json {
            writeln!(out, "{}", ewe::streams::json::value(&self.to_json()))?;
            return Ok(());
        }
        writeln!(
            out,
            "of {}, {} the loss on {}",
            counted(self.all, "row"),
            chosen(self.above, "lowers", "lower"),
            counted(self.encoded.held_out.len(), "held-out task")
        )?;
        for (title, rows) in [("helped most", &self.helped), ("hurt most", &self.hurt)] {
            if !rows.is_empty() {
                writeln!(out, "\n{title}:")?;
            }
            for row in rows {
                let words = one_line(&row.instruction, WIDTH);
                writeln!(out, "  {:+.4}  task {}  {words}", row.value, row.task_id)?;
            }
        }
        let shown = self.helped.iter().chain(&self.hurt);
        let values: Vec<f64> = shown.map(|row| row.value).collect();
        if let Some(remark) = self.noise.and_then(|noise| noise.remark(&values)) {
            writeln!(out, "\n{remark}: more --dimensions can")?;
        }
        Ok(())
    }

    fn to_json(&self) -> Value {
        let rows = |rows: &[StrongInfluence]| -> Vec<Value> {
            let row = |row: &StrongInfluence| {
                json!({"task_id": row.task_id, "instance_id": row.instance_id, "value": row.value,
                    "instruction": row.instruction})
            };
            rows.iter().map(row).collect()
        };
        json!({"run": self.run, "rows": self.all, "lower_the_loss": self.above, "held_out": self.encoded.held_out.len(),
            "helped": rows(&self.helped), "hurt": rows(&self.hurt), "projection_noise": self.noise})
    }

    /// The commands that go on from it; `base` is the model that was trained.
    pub fn next(&self, db: &Path, base: &Path) -> NextCommands {
        let (db, base) = (shell_word(db), shell_word(base));
        let mut next = NextCommands::default().with(
            format!("ewe list --db {db} --sort influence"),
            "all of them, the worst first",
        );
        let tasks: BTreeSet<i64> = self.hurt.iter().map(|row| row.task_id).collect();
        if !tasks.is_empty() {
            let ids: Vec<String> = tasks.iter().map(i64::to_string).collect();
            next = next.with(
                format!("ewe reject --db {db} {}", ids.join(" ")),
                "those that hurt most",
            );
        }
        next.with(
            format!("ewe train --db {db} --where \"influence > 0\" --model {base} --out better"),
            "train without those that hurt",
        )
    }
}
