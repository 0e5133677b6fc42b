//! Whether the data helped: training runs with their losses, suites before and after, the answers
//! that changed most, comparisons, and the rows that helped and hurt. Each part is there if the
//! dataset has something of it, and says what it was computed from.
//!
//! - [`training`], with [`metrics`]: runs and their curves.
//! - [`scores`]: evaluations of one suite in pairs; [`suites`] and [`answers`] show them.
//! - [`comparisons`], [`influence`]: the others.
//! - [`html`]: texts, cut, and settings.

mod answers;
mod comparisons;
mod html;
mod influence;
pub mod metrics;
mod scores;
mod suites;
mod training;

use std::path::Path;

use crate::report::Figures;
use crate::report::chart::curve::Curve;
use crate::store::{Result, Store};

/// The most evaluations that are read, from the latest on.
const MOST_EVALUATIONS: i64 = 400;
/// The most training runs that the page shows.
const MOST_SHOWN: usize = 6;

/// What a dataset has to say about models.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evidence {
    runs: Vec<training::TrainingRun>,
    suites: Vec<scores::SuitePart>,
    comparisons: Vec<comparisons::Comparison>,
    influence: Option<influence::Influence>,
}

/// Returns the latest training runs as the page shows them: in words, with charts of loss, learning
/// rate and memory.
///
/// # Errors
///
/// If the dataset cannot be read. Metrics that are gone are no error.
pub async fn training_runs(store: &Store) -> Result<Vec<serde_json::Value>> {
    let runs = training::load(store, &store.run_costs().await?).await?;
    let latest = runs.iter().take(MOST_SHOWN);
    Ok(latest.map(training::TrainingRun::view).collect())
}

/// Returns the losses of a run as an SVG file that needs nothing else; none if `metrics.jsonl` at
/// this path has none.
pub fn loss_svg(metrics: &Path, title: &str) -> Option<String> {
    let losses = metrics::read(metrics).ok()?;
    let curve = Curve {
        name: "loss".to_owned(),
        title: title.to_owned(),
        says: String::new(),
        lines: losses.lines(),
    };
    curve.svg()
}

impl Evidence {
    /// Reads it, and the metrics of training runs from where they were written.
    ///
    /// # Errors
    ///
    /// If the dataset cannot be read. Metrics that are gone are no error.
    pub async fn load(store: &Store, figures: &Figures) -> Result<Evidence> {
        Ok(Evidence {
            runs: training::load(store, &figures.runs).await?,
            suites: scores::load(store, &store.evaluations(MOST_EVALUATIONS).await?).await?,
            comparisons: comparisons::load(store).await?,
            influence: influence::load(store).await?,
        })
    }

    /// Returns the section of the page; empty if there is nothing to say.
    pub fn html(&self) -> String {
        let mut body = String::new();
        training::write(&mut body, &self.runs);
        suites::write(&mut body, &self.suites);
        comparisons::write(&mut body, &self.comparisons);
        if let Some(influence) = &self.influence {
            influence::write(&mut body, influence);
        }
        if body.is_empty() {
            return body;
        }
        format!(
            "<section class=\"card\" id=\"evidence\">\n<h2>Training and evaluation</h2>\n{body}</section>\n"
        )
    }
}
