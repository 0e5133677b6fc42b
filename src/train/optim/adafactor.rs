//! Adafactor (Shazeer & Stern 2018, <https://arxiv.org/abs/1804.04235>, algorithm 4) without a first moment: of a matrix's
//! second moments only the means of rows and columns are kept, and the update's root mean square is clipped at 1. The rate
//! is the schedule's own, as with `Adafactor(scale_parameter=False, relative_step=False)` of `transformers`.
//!
//! A vector is a matrix of one row: its columns' means are then the second moments themselves.
//!
//! Shapes: `r` rows, `c` columns.

use super::fallback::Passes;
use super::optimizer::Change;
use crate::shim::optimizers::{FactoredStep, Weights};
use tch::{Device, Kind, Tensor};

/// Share of what is kept at step t: 1 − t^−0.8.
const DECAY: f64 = -0.8;
/// Added to every square.
const EPS: f64 = 1e-30;
/// Largest root mean square of an update, in learning rates.
const CLIP: f64 = 1.0;

/// What is remembered of one tensor.
#[derive(Debug)]
pub struct Factored {
    /// Means along rows, fp32 `[r]`.
    rows: Tensor,
    /// Means along columns, fp32 `[c]`.
    columns: Tensor,
}

impl Factored {
    /// Zero, for a tensor of this size.
    pub fn zeros(size: &[i64], device: Device) -> Factored {
        let (rows, columns) = matrix(size);
        let zeros = |count| Tensor::zeros([count], (Kind::Float, device));
        Factored {
            rows: zeros(rows),
            columns: zeros(columns),
        }
    }

    /// Names, as in a checkpoint, and tensors.
    pub fn tensors(&self) -> Vec<(&'static str, &Tensor)> {
        vec![("rows", &self.rows), ("columns", &self.columns)]
    }

    /// One step of a tensor.
    pub fn update(&self, change: &Change, weights: Weights, gradient: &Tensor) {
        let (rows, columns) = matrix(&gradient.size());
        let gradient_rc = gradient.view([rows, columns]);
        let factor = change.factor as f32;
        let passes = Passes::on(gradient.device());
        let (rows_r, columns_c) = (passes.squares)(&gradient_rc, factor);
        let kept = 1.0 - (change.step as f64).powf(DECAY);
        let average = |mean: &Tensor, sums: Tensor, count: i64| {
            let now = sums / count as f64 + EPS;
            mean.shallow_clone().copy_(&(mean * kept + now * (1.0 - kept)));
        };
        average(&self.rows, rows_r, columns);
        average(&self.columns, columns_c, rows);
        let row_r = (&self.rows / self.rows.mean(Kind::Float)).rsqrt();
        let column_c = self.columns.rsqrt();
        let squares = (passes.scaled_squares)(&gradient_rc, factor, &row_r, &column_c);
        let size = (squares.sum(Kind::Double).double_value(&[]) / gradient.numel() as f64).sqrt();
        let step = FactoredStep {
            factor,
            decay: change.decay as f32,
            rate: (-change.rate / (size / CLIP).max(1.0)) as f32,
            key: change.key,
        };
        (passes.factored)(&step, weights, &gradient_rc, &row_r, &column_c);
    }
}

/// A tensor's size as rows and columns.
fn matrix(size: &[i64]) -> (i64, i64) {
    match size {
        [] => (1, 1),
        [count] => (1, *count),
        [rows, rest @ ..] => (*rows, rest.iter().product()),
    }
}
