//! Adafactor (Shazeer & Stern 2018, <https://arxiv.org/abs/1804.04235>, algorithm 4) without a
//! first moment: of a matrix's second moment only the means of rows and columns are kept, and the
//! update's root mean square is clipped at 1. The learning rate is the schedule's own, as with
//! `Adafactor(scale_parameter=False, relative_step=False)` of `transformers`.
//!
//! A vector is a matrix of one row: the means of its columns are the second moments themselves.
//!
//! Shapes: `r` rows, `c` columns.

use super::fallback::Passes;
use super::state::{OptimizerState, StepParams};
use crate::shim::gpu::{FactoredUpdate, FusedUpdate};
use crate::shim::optimizers::{FactoredStep, WeightTensors};
use tch::{Device, Kind, Tensor};

/// Exponent of the decay: step t keeps a share of 1 − t^−0.8 of the means.
const DECAY: f64 = -0.8;
/// Added to every squared gradient.
const EPS: f64 = 1e-30;
/// Largest root mean square of an update, in learning rates.
const CLIP: f64 = 1.0;

/// Adafactor's state of one tensor.
#[derive(Debug)]
pub struct AdafactorState {
    /// Means along rows, fp32 `[r]`.
    rows: Tensor,
    /// Means along columns, fp32 `[c]`.
    columns: Tensor,
}

impl AdafactorState {
    /// Returns zero means for a tensor of this size.
    pub fn zeros(size: &[i64], device: Device) -> AdafactorState {
        let (rows, columns) = matrix(size);
        let zeros = |count| Tensor::zeros([count], (Kind::Float, device));
        AdafactorState {
            rows: zeros(rows),
            columns: zeros(columns),
        }
    }
}

impl OptimizerState for AdafactorState {
    fn tensors(&self) -> Vec<(&'static str, &Tensor)> {
        vec![("rows", &self.rows), ("columns", &self.columns)]
    }

    fn update(&self, params: &StepParams, weights: WeightTensors, gradient: &Tensor) {
        let (rows, columns) = matrix(&gradient.size());
        let gradient_rc = gradient.view([rows, columns]);
        let factor = params.factor as f32;
        let passes = Passes::on(gradient.device());
        let (rows_r, columns_c) = (passes.squares)(&gradient_rc, factor);
        let kept = kept_share(params.step);
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
            decay: params.decay as f32,
            rate: (-params.rate / (size / CLIP).max(1.0)) as f32,
            key: params.key,
        };
        (passes.factored)(&step, weights, &gradient_rc, &row_r, &column_c);
    }

    fn fused<'a>(
        &'a self,
        params: &StepParams,
        weights: WeightTensors<'a>,
        gradient: Tensor,
    ) -> Option<FusedUpdate<'a>> {
        let kept = kept_share(params.step);
        Some(FusedUpdate::Adafactor(FactoredUpdate {
            factor: params.factor as f32,
            decay: params.decay as f32,
            rate: params.rate as f32,
            kept: kept as f32,
            share: (1.0 - kept) as f32,
            key: params.key,
            weights,
            row_means: &self.rows,
            column_means: &self.columns,
            gradient,
            sums: None,
        }))
    }
}

/// Returns the share of the running means that a step keeps.
fn kept_share(step: u64) -> f64 {
    1.0 - (step as f64).powf(DECAY)
}

/// Returns the rows and columns of a tensor of this size.
pub fn matrix(size: &[i64]) -> (i64, i64) {
    match size {
        [] => (1, 1),
        [count] => (1, *count),
        [rows, rest @ ..] => (*rows, rest.iter().product()),
    }
}
