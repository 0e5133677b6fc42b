//! Means with percentile bootstrap intervals (Efron 1979).

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// Resamples of an interval.
pub const RESAMPLES: usize = 10_000;
/// The share of the resamples beyond each end: 95 % are between them.
const TAIL: f64 = 0.025;

/// A mean, and the ends of its 95 % interval. All three are NaN, in JSON null, if there are no
/// values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The mean of the values themselves.
    pub mean: f64,
    /// The 2.5th percentile of the resamples' means.
    pub low: f64,
    /// The 97.5th percentile.
    pub high: f64,
}

impl Interval {
    /// The same in other units, such as percent.
    pub fn times(self, factor: f64) -> Interval {
        Interval {
            mean: self.mean * factor,
            low: self.low * factor,
            high: self.high * factor,
        }
    }
}

/// The mean of independent values with its interval. The same values and seed give the same
/// interval.
pub fn bootstrap(values: &[f64], seed: u64) -> Interval {
    let mean = mean(values);
    // Resamples of equal values are all the same.
    if values.iter().all(|value| *value == values[0]) {
        return exactly(mean);
    }
    let drawn = resamples(values.len(), seed, |drawn| {
        drawn.iter().map(|&at| values[at as usize]).sum::<f64>() / drawn.len() as f64
    });
    between(mean, drawn)
}

/// The mean of values in groups, such as the instances of a task, with an interval that resamples
/// whole groups: values of one group are alike, so a thousand of them say less than a thousand
/// independent ones. The mean is that of all values.
pub fn bootstrap_groups(groups: &[Vec<f64>], seed: u64) -> Interval {
    let sums: Vec<(f64, f64)> = groups
        .iter()
        .map(|group| (group.iter().sum(), group.len() as f64))
        .collect();
    bootstrap_ratio(&sums, seed)
}

/// The ratio of two sums over groups, such as losses over tokens, with an interval that resamples
/// whole groups. Groups whose second number is 0 do not count.
pub fn bootstrap_ratio(groups: &[(f64, f64)], seed: u64) -> Interval {
    let groups: Vec<(f64, f64)> = groups.iter().copied().filter(|group| group.1 > 0.0).collect();
    let ratio = |groups: &mut dyn Iterator<Item = (f64, f64)>| {
        let (sum, count) = groups.fold((0.0, 0.0), |all, group| (all.0 + group.0, all.1 + group.1));
        sum / count
    };
    let whole = ratio(&mut groups.iter().copied());
    if groups.len() < 2 || groups.iter().all(|group| *group == groups[0]) {
        return exactly(whole);
    }
    let drawn = resamples(groups.len(), seed, |drawn| {
        ratio(&mut drawn.iter().map(|&at| groups[at as usize]))
    });
    between(whole, drawn)
}

/// The mean difference of paired values, `after` less `before`, with the interval of the
/// differences.
///
/// # Panics
///
/// If there are not as many of one as of the other.
pub fn bootstrap_pairs(before: &[f64], after: &[f64], seed: u64) -> Interval {
    assert_eq!(before.len(), after.len(), "every value has its pair");
    let differences: Vec<f64> = before
        .iter()
        .zip(after)
        .map(|(before, after)| after - before)
        .collect();
    bootstrap(&differences, seed)
}

/// Two sums whose ratio is a figure, such as losses and tokens, of two models: the first one's
/// first.
pub type PairedSums = [[f64; 2]; 2];

/// The ratio of the second model's sums over groups less that of the first's, with an interval that
/// resamples whole groups with what both models have of them.
pub fn bootstrap_ratio_difference(groups: &[PairedSums], seed: u64) -> Interval {
    bootstrap_statistic(groups.len(), seed, |drawn| {
        let mut all = PairedSums::default();
        for &at in drawn {
            let sums = &groups[at as usize];
            for (all, sums) in all.iter_mut().flatten().zip(sums.iter().flatten()) {
                *all += sums;
            }
        }
        all[1][0] / all[1][1] - all[0][0] / all[0][1]
    })
}

/// A statistic of `count` items with its interval. `statistic` gets the numbers of the items,
/// which are all of them once, and then [`RESAMPLES`] times as many drawn with replacement.
pub fn bootstrap_statistic(count: usize, seed: u64, mut statistic: impl FnMut(&[u32]) -> f64) -> Interval {
    let all: Vec<u32> = (0..count as u32).collect();
    let whole = statistic(&all);
    if count < 2 {
        return exactly(whole);
    }
    between(whole, resamples(count, seed, statistic))
}

/// The statistic of each resample of `count` items.
fn resamples(count: usize, seed: u64, mut statistic: impl FnMut(&[u32]) -> f64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut drawn = vec![0; count];
    (0..RESAMPLES)
        .map(|_| {
            for at in &mut drawn {
                // Multiply and shift (Lemire 2019); its bias is below count / 2³².
                *at = ((u64::from(rng.next_u32()) * count as u64) >> 32) as u32;
            }
            statistic(&drawn)
        })
        .collect()
}

/// The interval of resamples around the value of the sample itself.
fn between(mean: f64, mut drawn: Vec<f64>) -> Interval {
    drawn.retain(|value| !value.is_nan());
    if drawn.is_empty() {
        return exactly(mean);
    }
    drawn.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| {
        // The empirical quantile with linear interpolation, numpy's default.
        let place = share * (drawn.len() - 1) as f64;
        let (below, part) = (place as usize, place.fract());
        let above = (below + 1).min(drawn.len() - 1);
        drawn[below] + part * (drawn[above] - drawn[below])
    };
    Interval {
        mean,
        low: at(TAIL),
        high: at(1.0 - TAIL),
    }
}

fn exactly(mean: f64) -> Interval {
    Interval {
        mean,
        low: mean,
        high: mean,
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_as_wide_as_theory_says() {
        let values: Vec<f64> = (0..400).map(|n| f64::from(n % 2)).collect();
        let Interval { mean, low, high } = bootstrap(&values, 1);
        assert_eq!(mean, 0.5);
        // 1.96 standard errors of a share of one half.
        let wide = 1.96 * (0.25f64 / 400.0).sqrt();
        assert!((mean - low - wide).abs() < 0.005, "{low}");
        assert!((high - mean - wide).abs() < 0.005, "{high}");
        assert_eq!(bootstrap(&values, 1), bootstrap(&values, 1));
        let uneven: Vec<f64> = (0..400).map(|n| f64::from(n * n % 97)).collect();
        assert_ne!(bootstrap(&uneven, 1), bootstrap(&uneven, 2));
    }

    #[test]
    fn groups_count_and_not_their_members() {
        let one = vec![vec![0.0; 50], vec![1.0; 50]];
        let Interval { mean, low, high } = bootstrap_groups(&one, 1);
        assert_eq!((mean, low, high), (0.5, 0.0, 1.0));
        let alone: Vec<f64> = one.concat();
        assert!(bootstrap(&alone, 1).low > 0.35);
        assert_eq!(bootstrap_groups(&[vec![1.0, 3.0], vec![]], 1), exactly(2.0));
        let uneven = bootstrap_groups(&[vec![1.0], vec![0.0, 0.0, 0.0]], 1);
        assert_eq!(uneven.mean, 0.25);
    }

    #[test]
    fn pairs_differ_less_than_their_values() {
        let before: Vec<f64> = (0..100).map(f64::from).collect();
        let after: Vec<f64> = before.iter().map(|value| value + 1.0).collect();
        assert_eq!(bootstrap_pairs(&before, &after, 1), exactly(1.0));
        let doubled = bootstrap_statistic(100, 1, |drawn| {
            drawn.iter().map(|&at| 2.0 * before[at as usize]).sum::<f64>() / drawn.len() as f64
        });
        let same = bootstrap(&before, 1).times(2.0);
        assert!((doubled.mean - same.mean).abs() < 1e-9 && (doubled.low - same.low).abs() < 1e-9);
    }

    #[test]
    fn a_difference_of_ratios_resamples_both_models_together() {
        let groups: Vec<PairedSums> = (1..=50)
            .map(|at| {
                [
                    [f64::from(at * at), f64::from(at)],
                    [f64::from(at * at + at), f64::from(at)],
                ]
            })
            .collect();
        // Each group is one higher, however high it is.
        let Interval { mean, low, high } = bootstrap_ratio_difference(&groups, 1);
        for value in [mean, low, high] {
            assert!((value - 1.0).abs() < 1e-9, "{value}");
        }
        let one = bootstrap_ratio_difference(&groups[..1], 1);
        assert_eq!((one.mean, one.low), (1.0, 1.0));
        assert!(bootstrap_ratio_difference(&[], 1).mean.is_nan());
    }

    #[test]
    fn few_values_make_no_interval() {
        assert_eq!(bootstrap(&[3.0], 1), exactly(3.0));
        assert!(bootstrap(&[], 1).mean.is_nan());
        assert!(bootstrap_groups(&[], 1).mean.is_nan());
        let json = serde_json::to_string(&bootstrap(&[], 1)).unwrap();
        assert_eq!(json, r#"{"mean":null,"low":null,"high":null}"#);
    }
}
