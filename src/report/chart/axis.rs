//! An axis of numbers that does not begin at zero: losses, scores with their intervals.

use crate::text::scale::round_step;

/// An axis from one round number to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axis {
    low: f64,
    step: f64,
    steps: u32,
}

impl Axis {
    /// Returns the axis that the values are on, with some four to eight lines; none without any
    /// finite value.
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Axis> {
        let (low, high) = values
            .filter(|value| value.is_finite() && value.abs() < 1e12)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        if low > high {
            return None;
        }
        let span = if high > low {
            high - low
        } else {
            high.abs().max(1.0) * 0.1
        };
        let step = round_step(span / 4.0);
        let first = (low / step).floor() * step;
        let count = ((high - first) / step).ceil().clamp(1.0, 20.0);
        Some(Axis {
            low: first,
            step,
            steps: count as u32,
        })
    }

    /// Returns where a value is, from 0 to 1.
    pub fn place(&self, value: f64) -> f64 {
        ((value - self.low) / (self.step * f64::from(self.steps))).clamp(0.0, 1.0)
    }

    /// Returns the values of the lines, each with its text.
    pub fn lines(&self) -> Vec<(f64, String)> {
        // A step of 0.1 may be computed as a little less.
        let digits = (-(self.step.log10() + 1e-9).floor()).clamp(0.0, 6.0) as usize;
        (0..=self.steps)
            .map(|at| self.low + f64::from(at) * self.step)
            // No minus sign before a zero.
            .map(|value| (value, format!("{:.digits$}", value + 0.0)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_round_and_hold_all_values() {
        for (values, want) in [
            (&[2.87, 3.27][..], &["2.8", "2.9", "3.0", "3.1", "3.2", "3.3"][..]),
            (&[31.0, 38.2], &["30", "32", "34", "36", "38", "40"]),
            (&[-4.0, 12.0], &["-5", "0", "5", "10", "15"]),
            (&[0.5], &["0.50", "0.55"]),
        ] {
            let axis = Axis::of(values.iter().copied()).unwrap();
            let lines = axis.lines();
            let texts: Vec<&str> = lines.iter().map(|(_, text)| text.as_str()).collect();
            assert_eq!(texts, want);
            for &value in values {
                let place = axis.place(value);
                assert!((0.0..=1.0).contains(&place), "{value}: {place}");
            }
        }
        assert_eq!(Axis::of([f64::NAN, f64::INFINITY].into_iter()), None);
        assert!(Axis::of([1e-9, 1e11].into_iter()).unwrap().lines().len() <= 21);
    }
}
