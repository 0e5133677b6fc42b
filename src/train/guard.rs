//! The loss-spike guard: refuses to update the weights by a step whose loss or gradient is not
//! finite, or far above those of the last steps.
//!
//! It knows the last hundred steps. A resumed run reads them from its metrics, so that it decides
//! like a run that was never interrupted.
//!
//! The last step of an epoch may have one row, with one target. Loss and gradient are means over
//! the targets of a step, so what is chance in them grows with the square root by which targets are
//! fewer than usual: that much more is allowed.

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
    /// Targets of each step.
    targets: VecDeque<f64>,
}

/// The steps that are remembered, by one figure.
struct Usual {
    mean: f64,
    deviation: f64,
}

impl Guard {
    /// Makes a guard that knows the steps of `past`, except skipped ones.
    pub fn new(sigmas: f64, past: &[StepMetrics]) -> Guard {
        let mut guard = Guard {
            sigmas,
            losses: VecDeque::new(),
            norms: VecDeque::new(),
            targets: VecDeque::new(),
        };
        for metrics in past {
            if let (None, Some(loss), Some(norm)) = (&metrics.skipped, metrics.loss, metrics.grad_norm) {
                guard.accept(metrics.target_tokens, loss, norm);
            }
        }
        guard
    }

    /// Returns why a step with this mean loss over `targets`, and this gradient norm if it is
    /// known, must not update the weights; none if it may.
    pub fn refuses(&self, targets: usize, loss: f64, norm: Option<f64>) -> Option<String> {
        if !loss.is_finite() {
            return Some("the loss is not finite".to_owned());
        }
        if norm.is_some_and(|norm| !norm.is_finite()) {
            return Some("the gradient is not finite".to_owned());
        }
        if self.sigmas == 0.0 || self.losses.len() < LEAST {
            return None;
        }
        let fewer = (mean(&self.targets) / targets as f64).sqrt().max(1.0);
        let steps = counted(self.losses.len(), "step");
        let usual = Usual::of(&self.losses);
        let above = (loss - usual.mean) / (usual.deviation * fewer);
        if above > self.sigmas {
            return Some(format!(
                "the loss of {loss:.3} is {above:.1} standard deviations above {:.3}, the mean of the last {steps}",
                usual.mean
            ));
        }
        let norm = norm?;
        let usual = Usual::of(&self.norms);
        let above = (norm.ln() - fewer.ln() - usual.mean) / usual.deviation;
        (above > self.sigmas).then(|| {
            format!(
                "the gradient's norm of {norm:.3} is {above:.1} standard deviations above {:.3}, the mean of the last {steps}",
                usual.mean.exp()
            )
        })
    }

    /// Remembers a step that updated the weights.
    pub fn accept(&mut self, targets: usize, loss: f64, norm: f64) {
        // The logarithm of a zero norm would be infinite.
        for (past, value) in [
            (&mut self.losses, loss),
            (&mut self.norms, norm.max(1e-30).ln()),
            (&mut self.targets, targets as f64),
        ] {
            past.push_back(value);
            if past.len() > WINDOW {
                past.pop_front();
            }
        }
    }
}

impl Usual {
    fn of(past: &VecDeque<f64>) -> Usual {
        let mean = mean(past);
        let variance = past.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / past.len() as f64;
        Usual {
            mean,
            deviation: variance.sqrt().max(LEAST_DEVIATION),
        }
    }
}

fn mean(past: &VecDeque<f64>) -> f64 {
    past.iter().sum::<f64>() / past.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64, loss: f64, norm: f64) -> StepMetrics {
        StepMetrics {
            step,
            loss: Some(loss),
            grad_norm: Some(norm),
            target_tokens: 400,
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
        assert_eq!(guard.refuses(400, 3.0, Some(2.0)), None);
        assert_eq!(guard.refuses(400, 0.0, Some(1e-9)), None, "less is no fault");
        let why = guard.refuses(400, 9.0, None).unwrap();
        assert!(
            why.starts_with("the loss of 9.000 is 19.8 standard deviations above 2.0"),
            "{why}"
        );
        let why = guard.refuses(400, 2.0, Some(80.0)).unwrap();
        assert!(why.contains("norm of 80.000"), "{why}");
        assert!(
            guard
                .refuses(400, f64::NAN, None)
                .unwrap()
                .contains("loss is not finite")
        );
        assert!(
            guard
                .refuses(400, 2.0, Some(f64::INFINITY))
                .unwrap()
                .contains("gradient is not finite")
        );
        // At 0 only what is not finite is refused; so it is while few steps are known.
        for lenient in [Guard::new(0.0, &past), Guard::new(10.0, &past[..19])] {
            assert_eq!(lenient.refuses(400, 99.0, Some(1e9)), None);
            assert!(lenient.refuses(400, f64::NAN, None).is_some());
        }
    }

    #[test]
    fn a_step_of_few_targets_may_stand_out_more() {
        let past: Vec<_> = (0..40).map(|step| line(step, 2.0, 3.0)).collect();
        let guard = Guard::new(10.0, &past);
        // As many as usual, and more.
        for targets in [400, 4000] {
            assert!(guard.refuses(targets, 5.6, None).is_some());
            assert!(guard.refuses(targets, 2.0, Some(57.0)).is_some());
        }
        for targets in [1, 4] {
            assert_eq!(guard.refuses(targets, 5.6, Some(57.0)), None);
        }
        // The norm is not bounded by chance alone.
        assert!(guard.refuses(4, 5.6, Some(1000.0)).is_some());
    }

    #[test]
    fn skipped_steps_are_not_remembered_and_old_ones_forgotten() {
        let mut past: Vec<_> = (0..30).map(|step| line(step, 2.0, 1.0)).collect();
        past.push(StepMetrics {
            skipped: Some("why".to_owned()),
            ..line(30, 900.0, 1e9)
        });
        let mut guard = Guard::new(10.0, &past);
        assert!(guard.refuses(400, 9.0, None).is_some());
        for _ in 0..WINDOW {
            guard.accept(400, 9.0, 1.0);
        }
        assert_eq!(guard.refuses(400, 9.0, Some(1.0)), None);
    }
}
