//! Training runs of the dataset, with their losses.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::html::{moment, write_source};
use super::metrics::{self, Losses};
use crate::report::card::table;
use crate::report::chart;
use crate::report::chart::Chart;
use crate::report::chart::curve::Curve;
use crate::report::chart::svg::{counted, escape, grouped, short};
use crate::store::query::stats::RunCost;
use crate::store::{Result, Store};

/// The most runs in the table, and of those with charts; from the latest on.
const MOST_RUNS: usize = 20;
const MOST_CHARTS: usize = 6;

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
pub async fn load(store: &Store, costs: &[RunCost]) -> Result<Vec<TrainingRun>> {
    let mut written = BTreeSet::new();
    let mut runs = Vec::new();
    for (id, config, model) in store.runs_of("train").await?.into_iter().take(MOST_RUNS) {
        let cost = costs.iter().find(|run| run.run_id == id);
        let path = config["out"]
            .as_str()
            .map(|out| Path::new(out).join("metrics.jsonl"));
        let losses = match &path {
            None => Err("its folder was not recorded".to_owned()),
            Some(path) if !written.insert(path.clone()) => {
                Err(format!("`{}` is that of a later run", path.display()))
            }
            Some(path) => read(path.clone()).await,
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

/// Reads metrics beside the threads that answer the page.
async fn read(path: PathBuf) -> std::result::Result<Losses, String> {
    let read = tokio::task::spawn_blocking(move || {
        metrics::read(&path).map_err(|why| format!("`{}` {why}", path.display()))
    });
    read.await.unwrap_or_else(|error| Err(error.to_string()))
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

    /// The losses over the steps.
    fn loss_chart(&self, losses: &Losses) -> Option<Chart> {
        let curve = Curve {
            name: format!("loss-{}", self.id),
            title: format!("Loss of run {}, in nats a token", self.id),
            says: self.says(losses),
            lines: losses.lines(),
        };
        curve.draw()
    }

    /// Losses, learning rate and memory, as far as they were recorded.
    fn charts(&self) -> Vec<Chart> {
        let Ok(losses) = &self.losses else {
            return Vec::new();
        };
        let id = self.id;
        let of = |name: &str, title: &str, says: String, line: &'static str, points| {
            let curve = Curve {
                name: format!("{name}-{id}"),
                title: format!("{title} of run {id}"),
                says,
                lines: vec![(line, points)],
            };
            curve.draw()
        };
        let most = |points: &[(u64, f64)]| points.iter().map(|point| point.1).fold(0.0, f64::max);
        let rate = format!("At most {:.1e}.", most(&losses.rates));
        let memory = format!("At most {:.1} GB.", most(&losses.memory));
        let charts = [
            self.loss_chart(losses),
            of("rate", "Learning rate", rate, "learning rate", &losses.rates),
            of("memory", "Memory", memory, "gigabytes at most", &losses.memory),
        ];
        charts.into_iter().flatten().collect()
    }

    /// The run as the page shows it.
    pub fn view(&self) -> Value {
        json!({
            "id": self.id,
            "model": self.model,
            "status": self.status,
            "started_at": self.started_at,
            "rows": self.rows(),
            "outcome": self.outcome(),
            "steps": self.losses.as_ref().map_or(0, |losses| losses.steps),
            "charts": self.charts(),
        })
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
    for (run, losses) in drawn.take(MOST_CHARTS) {
        if let Some(chart::Chart { figure, .. }) = run.loss_chart(losses) {
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
