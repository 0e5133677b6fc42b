//! The random numbers of a round: a function of the run's seed and the round's number, never of
//! time or threads. So an interrupted run continues as if it had not been interrupted.
//!
//! Machines that grow datasets from one seed each draw a [`Part`] of these numbers.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// The most parts that one seed is divided into.
const MOST_PARTS: u64 = 1 << 20;

/// The part of a seed's random numbers that one machine of several draws from: of `total`
/// machines, the one with this number takes each `total`-th round. So no two machines draw the same
/// numbers, and one alone draws all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    number: u64,
    total: u64,
}

impl Part {
    /// All random numbers of a seed.
    pub const WHOLE: Part = Part { number: 1, total: 1 };

    /// Whether it is all there is.
    pub fn is_whole(&self) -> bool {
        *self == Part::WHOLE
    }

    /// The place of a round of this machine among the rounds of all of them.
    pub fn place(self, round: u64) -> u64 {
        // Wrapping, since only a broken dataset has a round that large.
        round.wrapping_mul(self.total).wrapping_add(self.number - 1)
    }
}

impl FromStr for Part {
    type Err = String;

    /// Reads `3/16`.
    fn from_str(text: &str) -> Result<Part, String> {
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let read = text
            .split_once('/')
            .map(|(of, total)| (number(of), number(total)));
        match read {
            Some((Some(number), Some(total))) if (1..=total).contains(&number) && total <= MOST_PARTS => {
                Ok(Part { number, total })
            }
            _ => Err(format!(
                "want a part and the number of parts, like 3/16: from 1/1 to {MOST_PARTS}/{MOST_PARTS}"
            )),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.total)
    }
}

impl serde::Serialize for Part {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The random numbers of one round.
pub struct RoundRng(ChaCha8Rng);

impl RoundRng {
    /// The numbers of a round in a run with this seed.
    pub fn new(seed: u64, round: u64) -> Self {
        let digest = Sha256::digest(format!("ewe round {seed} {round}"));
        RoundRng(ChaCha8Rng::from_seed(digest.into()))
    }

    /// The numbers that decide whether and how a round rewrites a task. They are independent of
    /// [`RoundRng::new`], which samples the tasks of the prompt.
    pub(super) fn for_evolution(seed: u64, round: u64) -> Self {
        let digest = Sha256::digest(format!("ewe evolution {seed} {round}"));
        RoundRng(ChaCha8Rng::from_seed(digest.into()))
    }

    /// The numbers that decide which passage a round asks about, and for what.
    pub(super) fn for_documents(seed: u64, round: u64) -> Self {
        let digest = Sha256::digest(format!("ewe documents {seed} {round}"));
        RoundRng(ChaCha8Rng::from_seed(digest.into()))
    }

    /// The numbers that draw the words of a user's recipe.
    pub(super) fn for_own(seed: u64, round: u64) -> Self {
        let digest = Sha256::digest(format!("ewe own recipe {seed} {round}"));
        RoundRng(ChaCha8Rng::from_seed(digest.into()))
    }

    /// The numbers that decide how a round continues a task.
    pub(super) fn for_turns(seed: u64, round: u64) -> Self {
        let digest = Sha256::digest(format!("ewe turns {seed} {round}"));
        RoundRng(ChaCha8Rng::from_seed(digest.into()))
    }

    /// Returns true with this probability: never with 0, always with 1.
    pub(super) fn is_below(&mut self, probability: f64) -> bool {
        // A double in [0, 1) has 53 bits of precision.
        let point = (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        point < probability
    }

    /// Returns a number below `bound`, uniform to within 2⁻⁶⁴·`bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Puts items in random order.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

/// The sampling seed of a request. It is below 2³¹, since endpoints disagree on the largest one.
pub fn request_seed(seed: u64, round: u64, stage: &str, ordinal: usize) -> u64 {
    let digest = Sha256::digest(format!("ewe request {seed} {round} {stage} {ordinal}"));
    u64::from_le_bytes(digest[..8].try_into().expect("a digest has 32 bytes")) >> 33
}

/// The place that a part of a seed draws for a task among those that were continued as often.
pub(super) fn turn_order(seed: u64, part: Part, tries: u32, task_id: i64) -> u64 {
    let digest = Sha256::digest(format!("ewe turn order {seed} {part} {tries} {task_id}"));
    u64::from_le_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ_and_repeat() {
        let numbers = |seed, round| {
            let mut rng = RoundRng::new(seed, round);
            [(); 4].map(|()| rng.below(1000))
        };
        assert_eq!(numbers(7, 3), numbers(7, 3));
        assert_ne!(numbers(7, 3), numbers(7, 4));
        assert_ne!(numbers(7, 3), numbers(8, 3));
        assert_ne!(request_seed(7, 3, "tasks", 0), request_seed(7, 3, "tasks", 1));
        assert!(request_seed(7, 3, "tasks", 0) < 1 << 31);
    }

    #[test]
    fn parts_are_read_and_refused() {
        let part: Part = "3/16".parse().unwrap();
        assert_eq!((part.to_string().as_str(), part.is_whole()), ("3/16", false));
        assert!("1/1".parse::<Part>().unwrap().is_whole());
        for wrong in [
            "0/4",
            "5/4",
            "3",
            "3/",
            "/4",
            "-1/4",
            "1/0",
            "0/0",
            "a/b",
            "1/2/3",
            "1/1048577",
        ] {
            assert!(wrong.parse::<Part>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn parts_share_no_round_and_leave_none_out() {
        let mut places: Vec<u64> = ["1/3", "2/3", "3/3"]
            .iter()
            .flat_map(|part| (0..4).map(|round| part.parse::<Part>().unwrap().place(round)))
            .collect();
        places.sort_unstable();
        assert_eq!(places, (0..12).collect::<Vec<_>>());
        assert_eq!(Part::WHOLE.place(7), 7);
    }

    #[test]
    fn every_order_comes_up() {
        let mut counts = std::collections::BTreeMap::new();
        let mut rng = RoundRng::new(1, 1);
        for _ in 0..6000 {
            let mut items = [1, 2, 3];
            rng.shuffle(&mut items);
            *counts.entry(items).or_insert(0) += 1;
        }
        // Each is expected 1000 times; six standard deviations are about 173.
        assert_eq!(counts.len(), 6);
        assert!(
            counts.values().all(|count| (827..1173).contains(count)),
            "{counts:?}"
        );
    }
}
