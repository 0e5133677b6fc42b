//! Which tasks a round is prompted with. Everything is a function of the run's seed and the round's number, never
//! of time or threads, so that a run that was cut off goes on as if it had not been.

use super::recipe::{SelfInstruct, Stage};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

/// The random numbers of one round.
pub struct RoundRng(ChaCha8Rng);

impl RoundRng {
    /// The numbers of round `round` in a run with this seed.
    pub fn new(seed: u64, round: u64) -> Self {
        let digest = Sha256::digest(format!("ewe round {seed} {round}"));
        RoundRng(ChaCha8Rng::from_seed(digest.into()))
    }

    /// A number below `bound`, evenly distributed to within 2⁻⁶⁴·`bound`.
    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.0.next_u64()) * bound as u128) >> 64) as usize
    }

    /// `count` different items in random order; all of them when there are fewer.
    fn choose<T: Copy>(&mut self, items: &[T], count: usize) -> Vec<T> {
        let mut items = items.to_vec();
        let count = count.min(items.len());
        for i in 0..count {
            let j = i + self.below(items.len() - i);
            items.swap(i, j);
        }
        items.truncate(count);
        items
    }
}

/// The instructions that stage 1 shows: machine-made ones up to the recipe's number, seeds for the rest, shuffled.
pub fn in_context<'a>(
    recipe: &SelfInstruct,
    rng: &mut RoundRng,
    seeds: &[&'a str],
    machine: &[&'a str],
) -> Vec<&'a str> {
    let mut chosen = rng.choose(machine, recipe.machine_examples);
    chosen.extend(rng.choose(seeds, recipe.examples - chosen.len()));
    let count = chosen.len();
    rng.choose(&chosen, count)
}

/// The sampling seed of one request: below 2³¹, since endpoints disagree on how large one may be.
pub fn request_seed(seed: u64, round: u64, stage: Stage, ordinal: usize) -> u64 {
    let digest = Sha256::digest(format!("ewe request {seed} {round} {} {ordinal}", stage.as_str()));
    u64::from_le_bytes(digest[..8].try_into().expect("a digest has 32 bytes")) >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_differ_and_repeat() {
        let recipe = SelfInstruct::default();
        let seeds: Vec<String> = (0..50).map(|i| format!("seed {i}")).collect();
        let seeds: Vec<&str> = seeds.iter().map(String::as_str).collect();
        let machine = ["machine 1", "machine 2", "machine 3"];
        let show = |round| in_context(&recipe, &mut RoundRng::new(7, round), &seeds, &machine);
        assert_eq!(show(3), show(3));
        assert_ne!(show(3), show(4));
        for round in 0..50 {
            let shown = show(round);
            assert_eq!(shown.len(), 8);
            assert_eq!(shown.iter().filter(|text| text.starts_with("machine")).count(), 2);
            let different: std::collections::HashSet<_> = shown.iter().collect();
            assert_eq!(different.len(), 8);
        }
        assert_eq!(
            in_context(&recipe, &mut RoundRng::new(7, 0), &seeds, &[]).len(),
            8
        );
    }

    #[test]
    fn every_seed_gets_its_turn() {
        let recipe = SelfInstruct::default();
        let seeds: Vec<String> = (0..40).map(|i| i.to_string()).collect();
        let seeds: Vec<&str> = seeds.iter().map(String::as_str).collect();
        let mut counts = vec![0; 40];
        for round in 0..1000 {
            for text in in_context(&recipe, &mut RoundRng::new(1, round), &seeds, &[]) {
                counts[text.parse::<usize>().unwrap()] += 1;
            }
        }
        // 200 expected of each; six standard deviations are about 76.
        assert!(counts.iter().all(|&c| (120..280).contains(&c)), "{counts:?}");
    }
}
