//! ROUGE-L F1 between two texts (Lin 2004), exact.
//!
//! Decides as Google's `rouge_score` does without stemming: F1 = 2·LCS / (m + n), where m and n are
//! the numbers of words. It is compared as a fraction of integers, never as a rounded number.

use std::cmp::Ordering;
use std::str::FromStr;

/// ROUGE-L F1 as a fraction: 2·`lcs` / `total`. Compared by value: 7/20 equals 14/40.
#[derive(Debug, Clone, Copy)]
pub struct RougeL {
    /// Length of the longest common subsequence, in words.
    pub lcs: u32,
    /// Words of both texts together.
    pub total: u32,
}

impl RougeL {
    /// F1 from 0 to 1; 0 for two empty texts, as in `rouge_score`.
    pub fn f1(self) -> f64 {
        if self.total == 0 {
            0.0
        } else {
            2.0 * f64::from(self.lcs) / f64::from(self.total)
        }
    }

    /// The smallest LCS that gives two texts of `total` words together at least this score.
    pub(super) fn least_lcs(self, total: u32) -> u32 {
        (u64::from(self.lcs) * u64::from(total)).div_ceil(u64::from(self.total.max(1))) as u32
    }
}

impl Ord for RougeL {
    fn cmp(&self, other: &Self) -> Ordering {
        let cross = |a: &RougeL, b: &RougeL| u64::from(a.lcs) * u64::from(b.total.max(1));
        cross(self, other).cmp(&cross(other, self))
    }
}

impl PartialEq for RougeL {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for RougeL {}

impl PartialOrd for RougeL {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A similarity in (0, 1], kept as the decimal fraction that the user wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    numerator: u64,
    denominator: u64,
}

impl Threshold {
    /// Self-Instruct's 0.7.
    pub const SELF_INSTRUCT: Threshold = Threshold {
        numerator: 7,
        denominator: 10,
    };

    /// Whether `score` is above the threshold. An equal score is not.
    pub fn is_exceeded_by(self, score: RougeL) -> bool {
        2 * u64::from(score.lcs) * self.denominator > self.numerator * u64::from(score.total)
    }

    /// The smallest LCS that puts two texts of `total` words together above the threshold.
    pub(super) fn least_lcs(self, total: u32) -> u32 {
        (self.numerator * u64::from(total) / (2 * self.denominator)) as u32 + 1
    }

    /// The fewest words that a text can have to be above the threshold with one of `length` words.
    /// It then shares all of them.
    pub(super) fn shortest(self, length: u32) -> u32 {
        (self.numerator * u64::from(length) / (2 * self.denominator - self.numerator)) as u32 + 1
    }

    /// The most words that a text can have to be above the threshold with one of `length` words. It
    /// then has all of that text's words.
    pub(super) fn longest(self, length: u32) -> u32 {
        let most =
            ((2 * self.denominator - self.numerator) * u64::from(length)).saturating_sub(1) / self.numerator;
        most.min(u64::from(u32::MAX)) as u32
    }

    /// The length of the prefix that prefix filtering needs for a text of `length` words (Bayardo
    /// et al. 2007, "Scaling up all pairs similarity search"): with the rarest words first, every
    /// text above the threshold shares a word of the prefix. That is `length` + 1 − the smallest
    /// overlap. 0 if no text can be above the threshold.
    pub(super) fn prefix(self, length: u32) -> u32 {
        (length + 1).saturating_sub(self.least_shared(length))
    }

    /// The fewest words that a text of `length` words shares with any text above the threshold.
    pub(super) fn least_shared(self, length: u32) -> u32 {
        self.least_lcs(length.saturating_add(self.shortest(length)))
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("threshold '{text}' is not a number above 0 and at most 1, like 0.7");
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        if decimals.len() > 9 || !decimals.bytes().all(|b| b.is_ascii_digit()) {
            return Err(error());
        }
        let denominator = 10u64.pow(decimals.len() as u32);
        let whole: u64 = if whole.is_empty() {
            0
        } else {
            whole.parse().map_err(|_| error())?
        };
        let decimals: u64 = if decimals.is_empty() {
            0
        } else {
            decimals.parse().map_err(|_| error())?
        };
        let numerator = whole
            .checked_mul(denominator)
            .and_then(|n| n.checked_add(decimals))
            .ok_or_else(error)?;
        if numerator == 0 || numerator > denominator {
            return Err(error());
        }
        Ok(Threshold {
            numerator,
            denominator,
        })
    }
}

impl std::fmt::Display for Threshold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.numerator as f64 / self.denominator as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tie_at_the_threshold_stays() {
        // Both texts share 7 of their 10 words: F1 is exactly 0.7.
        assert!(!Threshold::SELF_INSTRUCT.is_exceeded_by(RougeL { lcs: 7, total: 20 }));
        assert!(Threshold::SELF_INSTRUCT.is_exceeded_by(RougeL { lcs: 15, total: 42 }));
    }

    #[test]
    fn thresholds_are_read_exactly() {
        assert_eq!("0.7".parse(), Ok(Threshold::SELF_INSTRUCT));
        assert!("1".parse::<Threshold>().is_ok());
        for bad in [
            "0",
            "1.01",
            "-0.5",
            "seven",
            "",
            ".",
            "0.0",
            "1e-1",
            "18446744073709551615.9",
        ] {
            assert!(bad.parse::<Threshold>().is_err(), "{bad}");
        }
    }

    #[test]
    fn empty_texts_have_nothing_in_common() {
        assert_eq!(RougeL { lcs: 0, total: 0 }.f1(), 0.0);
        assert!(RougeL { lcs: 0, total: 0 } < RougeL { lcs: 1, total: 2 });
    }

    proptest! {
        /// Compares the bounds with the definition, each at its limit.
        #[test]
        fn bounds_are_tight(millionths in 1u32..=1_000_000, m in 0u32..200, n in 0u32..400) {
            let threshold = Threshold { numerator: u64::from(millionths), denominator: 1_000_000 };
            let above = |lcs| threshold.is_exceeded_by(RougeL { lcs, total: m + n });
            let least = threshold.least_lcs(m + n);
            prop_assert!(above(least) && !above(least - 1));
            // At best, all words of the shorter text are shared.
            let possible = m > 0 && n > 0 && above(m.min(n));
            prop_assert_eq!(possible, m > 0 && (threshold.shortest(m)..=threshold.longest(m)).contains(&n));
            if possible {
                prop_assert!(m + 1 - threshold.prefix(m) <= least);
            }
        }

        #[test]
        fn the_least_lcs_of_a_score_reaches_it(lcs in 0u32..100, more in 1u32..100, total in 1u32..400) {
            let score = RougeL { lcs, total: 2 * lcs + more };
            let least = score.least_lcs(total);
            let reaches = |lcs| (RougeL { lcs, total }) >= score;
            prop_assert!(reaches(least));
            prop_assert!(least == 0 || !reaches(least - 1));
        }
    }
}
