//! Round numbers for scales: of charts, and of ranges that values are counted in.

/// Returns the smallest of 1, 2, 5, 10, 20, …, and of their tenths and hundredths, that is at least
/// `least`, which is above 0.
pub fn round_step(least: f64) -> f64 {
    let unit = 10f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|factor| factor * unit);
    let found = steps.into_iter().find(|step| *step >= least);
    found.unwrap_or(10.0 * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        let steps = [0.003, 0.5, 1.0, 1.01, 4.9, 5.1, 250.0].map(round_step);
        assert_eq!(steps, [0.005, 0.5, 1.0, 2.0, 5.0, 10.0, 500.0]);
    }
}
