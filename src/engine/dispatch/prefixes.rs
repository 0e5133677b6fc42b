//! What the engines have in their prefix caches, as the dispatcher can tell: the prompts that it
//! sent them last. Prompts are known by the hashes of their prefixes, a hash for each
//! [`SHORTEST`] tokens, so an engine takes a few kilobytes here, and a prompt is hashed once.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::engine::prefix::{AdaptedPrompt, SHORTEST};

/// The hashes of a prompt's prefixes.
pub struct Marks {
    hashes: Vec<u64>,
    tokens: usize,
}

impl Marks {
    /// Hashes the prefixes of a prompt. Those of another adapter are others.
    pub fn of(prompt: AdaptedPrompt) -> Marks {
        let mut hasher = DefaultHasher::new();
        prompt.adapter.hash(&mut hasher);
        let parts = prompt.tokens.chunks_exact(SHORTEST);
        let hashes = parts.map(|part| {
            part.hash(&mut hasher);
            hasher.finish()
        });
        Marks {
            hashes: hashes.collect(),
            tokens: prompt.tokens.len(),
        }
    }

    /// Returns the tokens of the whole prompt.
    pub fn tokens(&self) -> usize {
        self.tokens
    }
}

/// Prefixes of the prompts that an engine was sent last.
pub struct KnownPrefixes {
    /// Hashes of the last prompts, and of those before.
    sets: [HashSet<u64>; 2],
    /// The most hashes of a set.
    most: usize,
}

impl KnownPrefixes {
    /// Returns those of an engine whose prefix cache holds `tokens` tokens.
    pub fn new(tokens: usize) -> KnownPrefixes {
        KnownPrefixes {
            sets: Default::default(),
            most: tokens / SHORTEST / 2,
        }
    }

    /// Adds a prompt that the engine is sent. Those that it was sent long ago are forgotten.
    pub fn add(&mut self, marks: &Marks) {
        if marks.hashes.len() > self.most {
            // The engine keeps none that is as long.
            return;
        }
        if self.sets[0].len() + marks.hashes.len() > self.most {
            self.sets.swap(0, 1);
            self.sets[0].clear();
        }
        self.sets[0].extend(&marks.hashes);
    }

    /// Returns how many tokens of a prompt the engine is likely to have.
    pub fn longest(&self, marks: &Marks) -> usize {
        let has = |hash: &&u64| self.sets.iter().any(|set| set.contains(*hash));
        SHORTEST * marks.hashes.iter().take_while(has).count()
    }

    /// Forgets all, after the engine has lost its cache.
    pub fn clear(&mut self) {
        self.sets.iter_mut().for_each(HashSet::clear);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(tokens: &[i64], adapter: Option<usize>) -> Marks {
        Marks::of(AdaptedPrompt { tokens, adapter })
    }

    #[test]
    fn a_prompt_is_known_as_far_as_it_begins_like_another_of_its_adapter() {
        let mut known = KnownPrefixes::new(4096);
        let prompt: Vec<i64> = (0..200).collect();
        known.add(&marks(&prompt, None));
        assert_eq!(known.longest(&marks(&prompt, None)), 192);
        assert_eq!(known.longest(&marks(&prompt, Some(0))), 0);
        let mut other = prompt.clone();
        other[100] = -1;
        assert_eq!(known.longest(&marks(&other, None)), 96);
        other[0] = -1;
        assert_eq!(known.longest(&marks(&other, None)), 0);
        assert_eq!(known.longest(&marks(&prompt[..31], None)), 0);
        known.clear();
        assert_eq!(known.longest(&marks(&prompt, None)), 0);
    }

    #[test]
    fn prompts_of_long_ago_are_forgotten_and_memory_is_bounded() {
        let mut known = KnownPrefixes::new(64 * SHORTEST);
        let prompt = |n: i64| vec![n; 4 * SHORTEST];
        for n in 0..100 {
            known.add(&marks(&prompt(n), None));
            assert_eq!(known.longest(&marks(&prompt(n), None)), 4 * SHORTEST);
            assert!(known.sets.iter().map(HashSet::len).sum::<usize>() <= 64);
        }
        assert_eq!(known.longest(&marks(&prompt(0), None)), 0);
        // The engine would not keep it either.
        known.add(&marks(&vec![7; 100 * SHORTEST], None));
        assert_eq!(known.longest(&marks(&vec![7; 100 * SHORTEST], None)), 0);
    }
}
