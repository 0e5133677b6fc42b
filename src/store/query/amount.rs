//! A number of tasks, or a share of them: `50`, `10%`.

use std::{fmt, str::FromStr};

/// The most tasks that can be asked for.
const MOST: u64 = 1_000_000_000_000;

/// How many of some tasks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    /// So many.
    Count(u64),
    /// So many of a hundred; above 0, 100 at most.
    Percent(f64),
}

impl Amount {
    /// Returns the number of tasks out of `whole`: of a share the nearest, and at least one.
    pub fn of(self, whole: usize) -> usize {
        match self {
            Amount::Count(count) => whole.min(usize::try_from(count).unwrap_or(usize::MAX)),
            Amount::Percent(percent) => {
                let share = (whole as f64 * percent / 100.0).round() as usize;
                share.clamp(whole.min(1), whole)
            }
        }
    }
}

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Amount, String> {
        let text = text.trim();
        let amount = match text.strip_suffix('%') {
            Some(percent) => percent
                .trim()
                .parse()
                .ok()
                .filter(|&percent: &f64| percent > 0.0 && percent <= 100.0)
                .map(Amount::Percent),
            None => text
                .parse()
                .ok()
                .filter(|count| (1..=MOST).contains(count))
                .map(Amount::Count),
        };
        amount.ok_or_else(|| "want a number of tasks such as 50, or a share such as 10%".to_owned())
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Count(count) => write!(f, "{count}"),
            Amount::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_shares_are_told_apart() {
        let of = |text: &str, whole| Amount::from_str(text).map(|amount| amount.of(whole));
        assert_eq!((of("50", 200), of("50", 20)), (Ok(50), Ok(20)));
        assert_eq!((of("10%", 200), of("12.5 %", 8)), (Ok(20), Ok(1)));
        assert_eq!((of("1%", 5), of("1%", 0), of("100%", 7)), (Ok(1), Ok(0), Ok(7)));
        for absurd in [
            "", "%", "0", "0%", "-1", "101%", "nan%", "inf%", "1e400%", "0.1", "1e300", "10%%", "x",
        ] {
            assert!(Amount::from_str(absurd).is_err(), "{absurd:?}");
        }
        for text in ["50", "10%", "12.5%"] {
            assert_eq!(Amount::from_str(text).unwrap().to_string(), text);
        }
    }
}
