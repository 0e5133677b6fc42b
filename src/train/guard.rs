//! The loss-spike guard: refuses to update the weights by a step whose loss or gradient is not
//! finite, or far above those of the last steps.
//!
//! It knows the last hundred steps. A resumed run reads them from its metrics, so that it decides
//! like a run that was never interrupted.

use crate::train::out::metrics::StepMetrics;
use ewe::text::counted;
use std::collections::VecDeque;

/// Steps that are remembered.
const WINDOW: usize = 100;
/// Steps that must be known before anything finite is refused: the first steps of a run are unlike
/// all others.
const LEAST: usize = 20;
/// Smallest standard deviation: of losses in nats, so that a run that knows its rows by heart may
/// see a new one; of norms as a logarithm, so that ten of them are ten times the usual norm.
const LEAST_DEVIATION: f64 = 0.23;

/// Statistics of the last steps.
#[derive(Debug)]
pub struct Guard {
    /// Threshold in standard deviations above the mean; 0 refuses only what is not finite.
    sigmas: f64,
    losses: VecDeque<f64>,
    /// Logarithms of the gradient norms.
    norms: VecDeque<f64>,
}

impl Guard {
    /// Makes a guard that knows the steps of `past`, except skipped ones.
    pub fn new(sigmas: f64, past: &[StepMetrics]) -> Guard {
        let mut guard = Guard {
            sigmas,
            losses: VecDeque::new(),
            norms: VecDeque::new(),
        };
        for metrics in past {
            if let (None, Some(loss), Some(norm)) = (&metrics.skipped, metrics.loss, metrics.grad_norm) {
                guard.accept(loss, norm);
            }
        }
        guard
    }

    /// Returns why a step with this mean loss, and this gradient norm if it is known, must not
    /// update the weights; none if it may.
    pub fn refuses(&self, loss: f64, norm: Option<f64>) -> Option<String> {
        if !loss.is_finite() {
            return Some("the loss is not finite".to_owned());
        }
        if norm.is_some_and(|norm| !norm.is_finite()) {
            return Some("the gradient is not finite".to_owned());
        }
        if let Some((above, mean)) = self.above(&self.losses, loss) {
            return Some(format!(
                "the loss of {loss:.3} is {above:.1} standard deviations above {mean:.3}, the mean of the last {}",
                counted(self.losses.len(), "step")
            ));
        }
        let norm = norm?;
        let (above, mean) = self.above(&self.norms, norm.ln())?;
        Some(format!(
            "the gradient's norm of {norm:.3} is {above:.1} standard deviations above {:.3}, the mean of the last {}",
            mean.exp(),
            counted(self.norms.len(), "step")
        ))
    }

    /// Returns how many standard deviations `value` is above the mean of `past`, and the mean, if
    /// that exceeds the threshold.
    fn above(&self, past: &VecDeque<f64>, value: f64) -> Option<(f64, f64)> {
        if self.sigmas == 0.0 || past.len() < LEAST {
            return None;
        }
        let mean = past.iter().sum::<f64>() / past.len() as f64;
        let variance = past.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / past.len() as f64;
        let above = (value - mean) / variance.sqrt().max(LEAST_DEVIATION);
        (above > self.sigmas).then_some((above, mean))
    }

    /// Remembers a step that updated the weights.
    pub fn accept(&mut self, loss: f64, norm: f64) {
        // The logarithm of a zero norm would be infinite.
        for (past, value) in [(&mut self.losses, loss), (&mut self.norms, norm.max(1e-30).ln())] {
            past.push_back(value);
            if past.len() > WINDOW {
                past.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64, loss: f64, norm: f64) -> StepMetrics {
        StepMetrics {
            step,
            loss: Some(loss),
            grad_norm: Some(norm),
            ..Default::default()
        }
    }

    #[test]
    fn what_is_far_beyond_the_last_steps_is_refused() {
        let wave = |step: u64| 2.0 + 0.5 * (step as f64).sin();
        let past: Vec<_> = (0..40)
            .map(|step| line(step, wave(step), 1.0 + 0.1 * wave(step)))
            .collect();
        let guard = Guard::new(10.0, &past);
        assert_eq!(guard.refuses(3.0, Some(2.0)), None);
        assert_eq!(guard.refuses(0.0, Some(1e-9)), None, "less is no fault");
        let why = guard.refuses(9.0, None).unwrap();
        assert!(
            why.starts_with("the loss of 9.000 is 19.8 standard deviations above 2.0"),
            "{why}"
        );
        let why = guard.refuses(2.0, Some(80.0)).unwrap();
        assert!(why.contains("norm of 80.000"), "{why}");
        assert!(
            guard
                .refuses(f64::NAN, None)
                .unwrap()
                .contains("loss is not finite")
        );
        assert!(
            guard
                .refuses(2.0, Some(f64::INFINITY))
                .unwrap()
                .contains("gradient is not finite")
        );
        // At 0 only what is not finite is refused; so it is while few steps are known.
        for lenient in [Guard::new(0.0, &past), Guard::new(10.0, &past[..19])] {
            assert_eq!(lenient.refuses(99.0, Some(1e9)), None);
            assert!(lenient.refuses(f64::NAN, None).is_some());
        }
    }

    #[test]
    fn skipped_steps_are_not_remembered_and_old_ones_forgotten() {
        let mut past: Vec<_> = (0..30).map(|step| line(step, 2.0, 1.0)).collect();
        past.push(StepMetrics {
            skipped: Some("why".to_owned()),
            ..line(30, 900.0, 1e9)
        });
        let mut guard = Guard::new(10.0, &past);
        assert!(guard.refuses(9.0, None).is_some());
        for _ in 0..WINDOW {
            guard.accept(9.0, 1.0);
        }
        assert_eq!(guard.refuses(9.0, Some(1.0)), None);
    }
}
