//! The tensor `rope_freqs.weight`: what Llama 3.1 divides rotary frequencies by (Llama Team 2024,
//! <https://arxiv.org/abs/2407.21783>). GGUF has these numbers instead of the settings that they
//! are computed from.

use std::f64::consts::PI;

/// The settings of Llama 3.1's frequencies, under the names of config.json.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Llama3 {
    /// `factor`: what long wavelengths are stretched by.
    pub factor: f64,
    /// `low_freq_factor`.
    pub low: f64,
    /// `high_freq_factor`.
    pub high: f64,
    /// `original_max_position_embeddings`.
    pub original: f64,
}

/// Values of `low_freq_factor` and `high_freq_factor` of published models.
const KNOWN_BOUNDS: [(f64, f64); 2] = [(1.0, 4.0), (1.0, 8.0)];

/// How far a factor may be from one that is computed: it was computed in f32.
const TOLERANCE: f64 = 1e-4;

impl Llama3 {
    /// Returns the factor of each pair of `dims` rotated features, for the base `theta`.
    pub fn factors(&self, theta: f64, dims: i64) -> Vec<f32> {
        let of_pair = |pair: i64| {
            let exponent = (2 * pair) as f32 / dims as f32;
            let frequency = f64::from(1.0 / (theta as f32).powf(exponent));
            let wavelength = 2.0 * PI / frequency;
            if wavelength < self.original / self.high {
                return 1.0;
            }
            if wavelength > self.original / self.low {
                return self.factor;
            }
            let share = (self.original / wavelength - self.low) / (self.high - self.low);
            1.0 / ((1.0 - share) / self.factor + share)
        };
        (0..dims / 2).map(|pair| of_pair(pair) as f32).collect()
    }

    /// Finds the settings whose factors these are; none if no known ones are.
    pub fn of(factors: &[f32], theta: f64, dims: i64) -> Option<Llama3> {
        // The size of heads is what a file says; factors are there.
        if factors.len() as i64 != dims / 2 {
            return None;
        }
        let factor = f64::from(factors.iter().copied().fold(1.0, f32::max));
        // Llama's own context first, then all others.
        let contexts = std::iter::once(13)
            .chain(5..=20)
            .map(|power| f64::from(1 << power));
        let all = contexts.flat_map(|original| {
            KNOWN_BOUNDS.map(|(low, high)| Llama3 {
                factor,
                low,
                high,
                original,
            })
        });
        let fits = |settings: &Llama3| {
            let computed = settings.factors(theta, dims);
            computed.iter().zip(factors).all(|(computed, given)| {
                let (computed, given) = (f64::from(*computed), f64::from(*given));
                (computed - given).abs() <= TOLERANCE * computed
            })
        };
        let mut all = all;
        all.find(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_found_by_their_factors() {
        let published = Llama3 {
            factor: 32.0,
            low: 1.0,
            high: 4.0,
            original: 8192.0,
        };
        let factors = published.factors(5e5, 64);
        // The first and the last of Llama 3.2 1B.
        assert_eq!((factors[0], factors[31]), (1.0, 32.0));
        assert!(factors.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(Llama3::of(&factors, 5e5, 64), Some(published));
        let tiny = Llama3 {
            factor: 4.0,
            low: 1.0,
            high: 4.0,
            original: 32.0,
        };
        let factors = tiny.factors(1e4, 16);
        let found = Llama3::of(&factors, 1e4, 16).unwrap();
        assert_eq!(found.factors(1e4, 16), factors);
        assert_eq!(Llama3::of(&[1.0, 3.0, 2.0], 1e4, 6), None);
        assert_eq!(Llama3::of(&[f32::NAN; 3], 1e4, 6), None);
        // A head of more features than memory has room for.
        for dims in [i64::MAX, i64::MIN, 1 << 40, 0] {
            assert_eq!(Llama3::of(&[1.0, 2.0], 1e4, dims), None, "{dims}");
        }
    }
}
