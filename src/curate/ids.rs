//! Ids on a command line: one id, or a range.

use std::{ops::RangeInclusive, str::FromStr};

/// The most tasks of one range: a typing error must not fill the memory.
const MOST: i64 = 10_000_000;

/// `7`, or `7-12`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids(pub RangeInclusive<i64>);

impl FromStr for Ids {
    type Err = String;

    fn from_str(text: &str) -> Result<Ids, String> {
        let id = |text: &str| text.parse::<i64>().ok().filter(|&id| id > 0);
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (id(first), id(last)),
            None => (id(text), id(text)),
        };
        match (first, last) {
            (Some(first), Some(last)) if last < first => Err("the range ends before it begins".into()),
            (Some(first), Some(last)) if last - first >= MOST => Err("the range is too long".into()),
            (Some(first), Some(last)) => Ok(Ids(first..=last)),
            _ => Err("an id is a number above 0, a range is two with `-` between".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ids;

    #[test]
    fn one_or_a_range() {
        assert_eq!("7".parse(), Ok(Ids(7..=7)));
        assert_eq!("7-9".parse(), Ok(Ids(7..=9)));
        for wrong in ["", "0", "-3", "9-7", "1-99999999999", "x", "1-", "1-2-3"] {
            assert!(wrong.parse::<Ids>().is_err(), "{wrong}");
        }
    }
}
