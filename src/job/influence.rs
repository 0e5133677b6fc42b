//! What `ewe influence` does.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rows::RowsFile;
use crate::text::{chosen, counted};

/// The chance that the projection puts any row without influence beyond [`ProjectionNoise::bound`].
const CHANCE: f64 = 0.05;
/// Where the configuration of a run has its noise.
const NOISE: &str = "projection_noise";

/// The direction in which a row would move the weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The row's gradient over the root of Adam's second moment.
    #[default]
    Adam,
    /// Adam's whole update, first moment included, as LESS computes it (Xia et al. 2024): what
    /// earlier rows have in common counts for every row.
    Less,
    /// The row's gradient, as TracIn computes it (Pruthi et al. 2020).
    Sgd,
}

/// The rows of a dataset, and the checkpoints at which their gradients are taken.
#[derive(Debug, Clone)]
pub struct InfluenceJob {
    /// The dataset.
    pub db: PathBuf,
    /// The folder of a training run.
    pub run_dir: PathBuf,
    /// Directory of the run's base model, or its id on the Hugging Face hub; none takes what the
    /// run recorded.
    pub model: Option<PathBuf>,
    /// Rows to take in place of the dataset's held-out tasks.
    pub eval: Option<RowsFile>,
    /// Checkpoints to take at most.
    pub checkpoints: usize,
    /// Numbers that a gradient is projected to; 0 projects none.
    pub dimensions: u32,
    /// How a row would move the weights.
    pub direction: Direction,
    /// Seed of the projection.
    pub seed: u64,
    /// `auto`, `cpu` or `cuda:N`.
    pub device: String,
    /// Whether the result is printed as JSON.
    pub json: bool,
}

/// What the random projection of gradients does to influences, of which it knows nothing else.
///
/// A projection to `k` numbers changes the inner product of two unit vectors that are orthogonal by
/// a random number of mean 0 and variance `1/k`. A row's influence is the weighted sum, over
/// checkpoints, of such products of the row's unit vector with the mean `t` of the held-out tasks'
/// unit vectors. All of them share one projection, so their errors need not cancel: the standard
/// deviation is at most the sum, weighted alike, of `|t|/√k`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ProjectionNoise {
    /// Numbers that a gradient was projected to.
    pub dimensions: u32,
    /// The standard deviation of the influence of a row that has none.
    pub deviation: f64,
    /// What the influences of all rows stay within if none has any, with 95 % probability.
    pub bound: f64,
}

impl ProjectionNoise {
    /// Returns the noise of a projection with this standard deviation, of which `rows` are ranked:
    /// the lowest of many are low by chance. The bound takes a normal distribution, for which
    /// `P(|x| > z) ≤ exp(-z²/2)`, and the sum of the rows' probabilities.
    pub fn of(dimensions: u32, deviation: f64, rows: usize) -> ProjectionNoise {
        let deviations = (2.0 * (rows.max(1) as f64 / CHANCE).ln()).sqrt();
        ProjectionNoise {
            dimensions,
            deviation,
            bound: deviations * deviation,
        }
    }

    /// Reads what [`ProjectionNoise::noted`] returns from the configuration of a run; none of a run
    /// without a projection, or of a version that noted none.
    pub fn of_config(config: &Value) -> Option<ProjectionNoise> {
        Deserialize::deserialize(config.get(NOISE)?).ok()
    }

    /// Returns the name and the value with which the configuration of a run has it.
    pub fn noted(&self) -> (&'static str, Value) {
        let value = serde_json::to_value(self).expect("three numbers");
        (NOISE, value)
    }

    /// Counts the influences that the projection cannot tell from zero.
    pub fn within(&self, values: impl IntoIterator<Item = f64>) -> usize {
        let values = values.into_iter();
        values.filter(|value| value.abs() <= self.bound).count()
    }

    /// Says how many of the influences that were printed cannot be told from zero; none if all can.
    pub fn remark(&self, values: &[f64]) -> Option<String> {
        let rows = match (self.within(values.iter().copied()), values.len()) {
            (0, _) => return None,
            (_, 1) => "this row lies".to_owned(),
            (within, all) => format!(
                "of these {}, {}",
                counted(all, "row"),
                chosen(within, "lies", "lie")
            ),
        };
        Some(format!(
            "{rows} within ±{:.4}, which this projection cannot tell from zero",
            self.bound
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_grows_with_the_rows_and_the_deviation() {
        let bound = |rows| ProjectionNoise::of(4096, 0.01, rows).bound;
        // √(2 ln(500/0.05)) = 4.2919 deviations, and 2.4477 for a row that was not chosen.
        assert!((bound(500) - 0.042_919).abs() < 1e-6, "{}", bound(500));
        assert!((bound(1) - 0.024_477).abs() < 1e-6, "{}", bound(1));
        assert_eq!(bound(0), bound(1));
    }

    #[test]
    fn rows_near_zero_are_counted() {
        let noise = ProjectionNoise {
            dimensions: 4096,
            deviation: 0.01,
            bound: 0.03,
        };
        let said = |values: &[f64]| noise.remark(values).unwrap_or_default();
        assert_eq!(said(&[]), "");
        assert_eq!(said(&[-0.031, 0.4]), "");
        assert_eq!(
            said(&[-0.2, -0.03, 0.001]),
            "of these 3 rows, 2 lie within ±0.0300, which this projection cannot tell from zero"
        );
        assert!(said(&[-0.2, -0.01]).starts_with("of these 2 rows, 1 lies within"));
        assert!(said(&[-0.01]).starts_with("this row lies within ±0.0300"));
    }

    #[test]
    fn the_configuration_of_a_run_has_it() {
        let noise = ProjectionNoise::of(64, 0.1, 7);
        let (name, value) = noise.noted();
        let config = serde_json::json!({"dimensions": 64, name: value});
        assert_eq!(ProjectionNoise::of_config(&config), Some(noise));
        assert_eq!(ProjectionNoise::of_config(&serde_json::json!({})), None);
        assert_eq!(ProjectionNoise::of_config(&serde_json::json!({NOISE: 3})), None);
    }
}
