//! Training runs of the dataset, with their losses.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::html::{moment, write_source};
use super::metrics::{self, Losses};
use crate::report::card::table;
use crate::report::chart::curve::Curve;
use crate::report::chart::svg::{counted, escape, grouped, short};
use crate::report::{Figures, chart};
use crate::store::{Result, Store};

/// The most runs in the table, and the names of their charts; from the latest on.
const MOST_RUNS: usize = 20;
const CHARTS: [&str; 6] = ["loss-1", "loss-2", "loss-3", "loss-4", "loss-5", "loss-6"];

/// A training run.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingRun {
    id: i64,
    model: String,
    status: String,
    started_at: String,
    config: Value,
    /// Its metrics, or why there are none.
    losses: std::result::Result<Losses, String>,
    /// Where they were read.
    path: Option<PathBuf>,
}

/// Reads the latest runs.
pub async fn load(store: &Store, figures: &Figures) -> Result<Vec<TrainingRun>> {
    let mut written = BTreeSet::new();
    let mut runs = Vec::new();
    for (id, config, model) in store.runs_of("train").await?.into_iter().take(MOST_RUNS) {
        let cost = figures.runs.iter().find(|run| run.run_id == id);
        let path = config["out"]
            .as_str()
            .map(|out| Path::new(out).join("metrics.jsonl"));
        let losses = match &path {
            None => Err("its folder was not recorded".to_owned()),
            Some(path) if !written.insert(path.clone()) => {
                Err(format!("`{}` is that of a later run", path.display()))
            }
            Some(path) => metrics::read(path).map_err(|why| format!("`{}` {why}", path.display())),
        };
        runs.push(TrainingRun {
            id,
            model: model.unwrap_or_default(),
            status: cost.map_or(String::new(), |run| run.status.as_str().to_owned()),
            started_at: cost.map_or(String::new(), |run| moment(&run.started_at)),
            config,
            losses,
            path,
        });
    }
    Ok(runs)
}

impl TrainingRun {
    /// A value of its configuration, for people.
    fn setting(&self, name: &str) -> String {
        match &self.config[name] {
            Value::Null => String::new(),
            Value::String(text) => short(text, 80),
            Value::Number(number) => number.as_i64().map_or(number.to_string(), grouped),
            other => short(&other.to_string(), 80),
        }
    }

    /// What it was trained on: in words, or the number of examples.
    fn rows(&self) -> String {
        match self.setting("took") {
            took if took.is_empty() => self.setting("examples"),
            took => took,
        }
    }

    /// `3.27 → 2.87 (−12 %)`, the last loss, or why there is none.
    fn outcome(&self) -> String {
        match &self.losses {
            Err(why) => short(why, 200),
            Ok(losses) => match (losses.change(), losses.train.last()) {
                (Some((before, after)), _) => format!("held out {}", changed(before, after)),
                (None, Some((_, loss))) => format!("loss {loss:.3}, nothing held out"),
                (None, None) => String::new(),
            },
        }
    }

    fn says(&self, losses: &Losses) -> String {
        let mut says = format!("{}: {}.", counted(losses.steps as i64, "step"), self.outcome());
        let last = losses.held_out.last().map_or(f64::NAN, |point| point.1);
        if let Some((step, best)) = losses.best.filter(|(_, best)| *best < last) {
            let _ = write!(
                says,
                " The lowest was {best:.3}, at step {}.",
                grouped(step as i64)
            );
        }
        if losses.skipped > 0 {
            let steps = counted(losses.skipped as i64, "step");
            let _ = write!(says, " {steps} skipped.");
        }
        if losses.is_cut {
            says += " The file is longer than what was read of it.";
        }
        says
    }
}

/// `3.27 → 2.87 (−12 %)`
fn changed(before: f64, after: f64) -> String {
    let percent = (after - before) / before * 100.0;
    let percent = format!("{percent:+.0} %").replace('-', "−");
    format!("{before:.3} → {after:.3} ({percent})")
}

/// Appends the runs.
pub fn write(body: &mut String, runs: &[TrainingRun]) {
    if runs.is_empty() {
        return;
    }
    body.push_str("<h3>Training runs</h3>\n");
    let rows = runs.iter().map(|run| {
        vec![
            run.id.to_string(),
            run.model.clone(),
            run.status.clone(),
            run.started_at.clone(),
            run.rows(),
            run.setting("evaluated_on"),
            run.outcome(),
        ]
    });
    let heads = [
        "run",
        "model",
        "status",
        "started",
        "trained on",
        "held out",
        "loss",
    ];
    table(body, "", &heads, rows);
    let mut charts = String::new();
    let mut sources = Vec::new();
    let drawn = runs
        .iter()
        .filter_map(|run| Some((run, run.losses.as_ref().ok()?)));
    for (name, (run, losses)) in CHARTS.into_iter().zip(drawn) {
        let curve = Curve {
            name,
            title: format!("Loss of run {}, in nats a token", run.id),
            says: run.says(losses),
            train: &losses.train,
            held_out: &losses.held_out,
        };
        if let Some(chart::Chart { figure, .. }) = curve.draw() {
            charts += &figure;
            charts.push('\n');
            let path = run.path.as_deref().unwrap_or(Path::new(""));
            let path = escape(&path.display().to_string());
            sources.push(format!("<code>{path}</code> (run {})", run.id));
        }
    }
    if !charts.is_empty() {
        let _ = writeln!(body, "<div class=\"charts\">\n{charts}</div>");
        write_source(body, &format!("{}.", sources.join(", ")));
    }
}
