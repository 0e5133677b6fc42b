//! The learning rate of each step.
//!
//! A linear rise from zero over the warm-up, then half a cosine, a line, or a constant: the curves
//! of `get_cosine_schedule_with_warmup`, `get_linear_…` and `get_constant_…` of `transformers`,
//! point by point.

use ewe::finetune::ScheduleKind;

/// Learning rate as a function of the step.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Schedule {
    /// The curve after the warm-up.
    pub kind: ScheduleKind,
    /// Highest learning rate.
    pub peak: f64,
    /// Steps of the warm-up; if there are any, step 0 has rate zero.
    pub warmup: u64,
    /// Steps of the run.
    pub total: u64,
}

impl Schedule {
    /// Returns the learning rate of `step`, counted from 0.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.peak * step as f64 / self.warmup as f64;
        }
        let progress = (step - self.warmup) as f64 / self.total.saturating_sub(self.warmup).max(1) as f64;
        let factor = match self.kind {
            ScheduleKind::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            ScheduleKind::Linear => 1.0 - progress,
            ScheduleKind::Constant => 1.0,
        };
        self.peak * factor.max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_falls_or_stays() {
        let cosine = Schedule {
            kind: ScheduleKind::Cosine,
            peak: 2.0,
            warmup: 2,
            total: 10,
        };
        let rates: Vec<f64> = (0..10).map(|step| cosine.rate(step)).collect();
        assert_eq!(&rates[..3], [0.0, 1.0, 2.0]);
        assert!(
            (rates[6] - 1.0).abs() < 1e-12,
            "half way down after half the rest"
        );
        assert!(rates[2..].windows(2).all(|pair| pair[0] > pair[1]) && rates[9] > 0.0);
        let linear = Schedule {
            kind: ScheduleKind::Linear,
            ..cosine
        };
        assert_eq!(linear.rate(6), 1.0);
        let constant = Schedule {
            kind: ScheduleKind::Constant,
            ..cosine
        };
        assert_eq!((constant.rate(0), constant.rate(9)), (0.0, 2.0));
        assert_eq!(
            Schedule {
                warmup: 0,
                total: 1,
                ..cosine
            }
            .rate(0),
            2.0
        );
    }
}
