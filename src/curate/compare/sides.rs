//! Which answer of a pair is shown on the left: random, so that a side says nothing about the
//! model, and the same whenever the same person sees the pair.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What a person chose, by what was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The answer on the left.
    Left,
    /// The answer on the right.
    Right,
    /// Neither.
    Tie,
}

/// Whether model a's answer is on the left.
pub fn a_is_left(pair_id: i64, who: &str) -> bool {
    Sha256::digest(format!("ewe side {pair_id} {who}"))[0] & 1 == 0
}

impl Side {
    /// The choice as it is stored: `a`, `b` or `tie`.
    pub fn choice(self, a_is_left: bool) -> &'static str {
        match (self, a_is_left) {
            (Side::Tie, _) => "tie",
            (Side::Left, true) | (Side::Right, false) => "a",
            (Side::Left, false) | (Side::Right, true) => "b",
        }
    }

    /// What was seen, of a stored choice.
    pub fn of_choice(choice: &str, a_is_left: bool) -> Side {
        match (choice, a_is_left) {
            ("a", true) | ("b", false) => Side::Left,
            ("a", false) | ("b", true) => Side::Right,
            _ => Side::Tie,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_even_and_differ_between_people() {
        let of = |who: &str| (1..=1000).map(|id| a_is_left(id, who)).collect::<Vec<_>>();
        let left = of("ann").iter().filter(|is| **is).count();
        assert!((430..570).contains(&left), "{left}");
        let same = of("ann")
            .iter()
            .zip(of("ben"))
            .filter(|(one, other)| **one == *other)
            .count();
        assert!((430..570).contains(&same), "{same}");
        assert_eq!(of("ann"), of("ann"));
    }

    #[test]
    fn what_is_seen_and_what_is_stored_belong_together() {
        for a_is_left in [true, false] {
            for side in [Side::Left, Side::Right, Side::Tie] {
                assert_eq!(Side::of_choice(side.choice(a_is_left), a_is_left), side);
            }
        }
        assert_eq!((Side::Left.choice(true), Side::Left.choice(false)), ("a", "b"));
    }
}
