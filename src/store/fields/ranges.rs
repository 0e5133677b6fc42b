//! Ranges of the values of a number field that has too many to list each.

use serde_json::Value;

use crate::text::scale::round_step;

/// Numbers are divided into about so many ranges.
const ABOUT: f64 = 10.0;

/// The share of values, in hundredths, that ends of their own have: one outlier would press all
/// others into one range.
const OUTLYING: i64 = 1;

/// A range of numbers, and how many tasks have a value in it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct RangeCount {
    /// The lowest value; of the first range `None` where outliers are below it.
    pub from: Option<f64>,
    /// What all values are below; of the last range `None` where outliers are above it.
    pub until: Option<f64>,
    /// How many tasks.
    pub tasks: i64,
}

impl RangeCount {
    /// The range as people read it: `10 to 20`, which is without 20.
    pub fn label(&self) -> String {
        match (self.from, self.until) {
            (Some(from), Some(until)) => format!("{from} to {until}"),
            (None, Some(until)) => format!("below {until}"),
            (Some(from), None) => format!("{from} or more"),
            (None, None) => "all".to_owned(),
        }
    }
}

/// Divides numbers, each with how many tasks have it, into ranges of equal width that begin at
/// round numbers. Empty if there are no two different numbers but outliers.
pub fn ranges(counts: &[(Value, i64)]) -> Vec<RangeCount> {
    let number = |(value, tasks): &(Value, i64)| Some((value.as_f64()?, *tasks));
    let mut numbers: Vec<(f64, i64)> = counts.iter().filter_map(number).collect();
    numbers.sort_by(|one, other| one.0.total_cmp(&other.0));
    let all: i64 = numbers.iter().map(|(_, tasks)| tasks).sum();
    let at = |rank: i64| {
        let mut before = 0;
        let mut reached = numbers.iter().filter(|(_, tasks)| {
            before += tasks;
            before > rank
        });
        reached.next().map(|(number, _)| *number)
    };
    let outlying = all * OUTLYING / 100;
    let (Some(low), Some(high)) = (at(outlying), at(all - 1 - outlying)) else {
        return Vec::new();
    };
    let width = high - low;
    if !(width > 0.0 && width.is_finite()) {
        return Vec::new();
    }
    let step = round_step(width / ABOUT);
    let (first, last) = ((low / step).floor(), (high / step).floor());
    let count = (last - first) as usize + 1;
    let mut tasks = vec![0; count];
    let (mut is_below, mut is_above) = (false, false);
    for (number, here) in numbers {
        let place = (number / step).floor();
        is_below |= place < first;
        is_above |= place > last;
        tasks[(place.clamp(first, last) - first) as usize] += here;
    }
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    let end = |place: usize| {
        let exact = (first + place as f64) * step;
        format!("{exact:.decimals$}").parse().unwrap_or(exact)
    };
    let range = |(place, tasks): (usize, i64)| RangeCount {
        from: (place > 0 || !is_below).then(|| end(place)),
        until: (place + 1 < count || !is_above).then(|| end(place + 1)),
        tasks,
    };
    tasks.into_iter().enumerate().map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(counts: impl IntoIterator<Item = (f64, i64)>) -> Vec<(String, i64)> {
        let counts: Vec<(Value, i64)> = counts
            .into_iter()
            .map(|(number, tasks)| (number.into(), tasks))
            .collect();
        let said = ranges(&counts);
        said.iter().map(|one| (one.label(), one.tasks)).collect()
    }

    #[test]
    fn ranges_are_round_and_count_everything_once() {
        let said = of((0..100).map(|at| (f64::from(at) / 10.0, 2)));
        assert_eq!(said.first().unwrap(), &("0 to 1".to_owned(), 20));
        assert_eq!(said.last().unwrap(), &("9 to 10".to_owned(), 20));
        assert_eq!(said.len(), 10);
        let small = of((3..40).map(|at| (f64::from(at) / 1000.0, 1)));
        assert_eq!(small.first().unwrap(), &("0 to 0.005".to_owned(), 2));
        assert_eq!(small.iter().map(|(_, tasks)| tasks).sum::<i64>(), 37);
        let below = of((-50..50).map(|at| (f64::from(at), 1)));
        assert_eq!(below[0], ("-50 to -40".to_owned(), 10));
    }

    #[test]
    fn an_outlier_has_an_end_without_a_limit() {
        let mut counts: Vec<(f64, i64)> = (0..200).map(|at| (f64::from(at), 1)).collect();
        counts.push((1e12, 1));
        counts.push((-1e12, 1));
        let said = of(counts);
        assert_eq!(said.first().unwrap(), &("below 20".to_owned(), 21));
        assert_eq!(said.last().unwrap(), &("180 or more".to_owned(), 21));
    }

    #[test]
    fn what_has_no_width_has_no_ranges() {
        assert!(of([]).is_empty());
        assert!(of([(3.0, 500), (9.0, 1)]).is_empty());
        assert!(of([(f64::MIN, 1), (f64::MAX, 1)]).is_empty());
        assert!(!of([(f64::MIN_POSITIVE, 1), (1.0, 1)]).is_empty());
        assert!(ranges(&[(Value::Null, 3), ("a".into(), 1)]).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn no_numbers_break_it(numbers: Vec<(f64, u8)>) {
            let all: i64 = numbers.iter().filter(|one| one.0.is_finite()).map(|one| i64::from(one.1)).sum();
            let said = of(numbers.into_iter().map(|(number, tasks)| (number, i64::from(tasks))));
            let counted: i64 = said.iter().map(|(_, tasks)| tasks).sum();
            proptest::prop_assert!(said.len() <= 13 && (said.is_empty() || counted == all));
        }
    }
}
