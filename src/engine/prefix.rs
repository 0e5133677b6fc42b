//! The prefix cache: keys and values of earlier prompts. Few-shot prompts share long prefixes,
//! which are so computed once.
//!
//! In a KV cache of slots it has memory of its own. In one of pages it keeps pages of prompts whose
//! requests have ended, until running requests need them.

use crate::model::cache::{KvCache, Prefix};

/// The fewest tokens of a prefix: shorter ones are cheaper to compute than to keep.
pub const SHORTEST: usize = 32;

/// A prompt with its keys and values.
struct CachedPrefix {
    tokens: Vec<i64>,
    /// The adapter that computed them.
    adapter: Option<usize>,
    prefix: Prefix,
    /// How often it was reused.
    hits: usize,
    /// When it was last used, by the cache's clock.
    used: u64,
}

/// Returns how many tokens of `prompt` need not be computed if those of `known` are: their shared
/// prefix, if it has at least [`SHORTEST`] tokens. Never the last token of `prompt`, whose hidden
/// features are needed.
pub fn worth(known: &[i64], prompt: &[i64]) -> usize {
    let most = prompt.len().saturating_sub(1);
    let shared = known
        .iter()
        .zip(&prompt[..most])
        .take_while(|(a, b)| a == b)
        .count();
    if shared >= SHORTEST { shared } else { 0 }
}

/// A prompt, and the adapter that computes its keys and values: those of others are of no use.
#[derive(Debug, Clone, Copy)]
pub struct AdaptedPrompt<'a> {
    /// Token ids.
    pub tokens: &'a [i64],
    /// The place of the adapter; none for the model alone.
    pub adapter: Option<usize>,
}

/// A bounded store of prefixes. Prefixes that were never reused leave first, then those whose last
/// use is longest ago.
pub struct PrefixCache {
    entries: Vec<CachedPrefix>,
    budget_tokens: usize,
    /// Counts uses.
    clock: u64,
}

impl PrefixCache {
    /// Returns an empty store of up to `budget_tokens` tokens; 0 switches it off.
    pub fn new(budget_tokens: usize) -> PrefixCache {
        PrefixCache {
            entries: Vec::new(),
            budget_tokens,
            clock: 0,
        }
    }

    /// Returns the most tokens of all prefixes together.
    pub fn budget_tokens(&self) -> usize {
        self.budget_tokens
    }

    /// Puts the longest stored prefix of `prompt` into slot `slot`: a copy, or its pages. Returns
    /// its tokens: 0, or at least [`SHORTEST`], and never the whole prompt.
    pub fn fill(&mut self, prompt: AdaptedPrompt, cache: &mut KvCache, slot: i64) -> usize {
        self.clock += 1;
        let Some((length, index)) = self.best(prompt) else {
            return 0;
        };
        let entry = &mut self.entries[index];
        cache.put_prefix(slot, &entry.prefix, length);
        entry.hits += 1;
        entry.used = self.clock;
        // The first reuse shows where two prompts differ. What follows belongs to one of them only.
        if entry.hits == 1 && length < entry.tokens.len() && 2 * length >= entry.tokens.len() {
            entry.tokens.truncate(length);
            cache.shorten_prefix(&mut entry.prefix, length);
        }
        length
    }

    /// Returns how many tokens [`PrefixCache::fill`] would find.
    pub fn longest(&self, prompt: AdaptedPrompt) -> usize {
        self.best(prompt).map_or(0, |(length, _)| length)
    }

    /// Returns the prefix that [`PrefixCache::fill`] would use, and how many tokens of it.
    pub fn known(&self, prompt: AdaptedPrompt) -> Option<(&Prefix, usize)> {
        let (length, index) = self.best(prompt)?;
        Some((&self.entries[index].prefix, length))
    }

    /// Returns the length of the longest stored prefix of `prompt`, and its index; of equal ones,
    /// the most reused.
    fn best(&self, prompt: AdaptedPrompt) -> Option<(usize, usize)> {
        let worths = self.entries.iter().enumerate();
        let worths = worths.filter(|(_, entry)| entry.adapter == prompt.adapter);
        let worths = worths.map(|(index, entry)| (worth(&entry.tokens, prompt.tokens), entry.hits, index));
        let (length, _, index) = worths.max()?;
        (length > 0).then_some((length, index))
    }

    /// Stores `prompt`, just computed in `slot`, unless it is too short, too long, or more than
    /// half of it (`reused` tokens) was stored already.
    pub fn offer(&mut self, prompt: AdaptedPrompt, reused: usize, cache: &mut KvCache, slot: i64) {
        let AdaptedPrompt {
            tokens: prompt,
            adapter,
        } = prompt;
        if prompt.len() < SHORTEST || prompt.len() > self.budget_tokens || 2 * reused >= prompt.len() {
            return;
        }
        self.clock += 1;
        let entry = CachedPrefix {
            tokens: prompt.to_vec(),
            adapter,
            prefix: cache.take_prefix(slot, prompt.len() as i64),
            hits: 0,
            used: self.clock,
        };
        self.entries.push(entry);
        while self.entries.iter().map(|e| e.tokens.len()).sum::<usize>() > self.budget_tokens {
            self.evict(cache);
        }
    }

    /// Drops the first prefix in the order of leaving. Returns whether there was one.
    pub fn evict(&mut self, cache: &mut KvCache) -> bool {
        self.evict_one(cache, |_| true)
    }

    /// Drops the first prefix in the order of leaving that has pages of its own, which are free
    /// then. Returns whether there was one.
    pub fn free_pages(&mut self, cache: &mut KvCache) -> bool {
        let pages: Vec<usize> = self.entries.iter().map(|e| cache.freed_by(&e.prefix)).collect();
        self.evict_one(cache, |index| pages[index] > 0)
    }

    fn evict_one(&mut self, cache: &mut KvCache, leaves: impl Fn(usize) -> bool) -> bool {
        let oldest = (0..self.entries.len())
            .filter(|&index| leaves(index))
            .min_by_key(|&index| (self.entries[index].hits > 0, self.entries[index].used));
        let Some(oldest) = oldest else {
            return false;
        };
        cache.drop_prefix(self.entries.swap_remove(oldest).prefix);
        true
    }

    /// Iterates over the prefixes.
    #[cfg(test)]
    pub fn kept(&self) -> impl Iterator<Item = &Prefix> {
        self.entries.iter().map(|entry| &entry.prefix)
    }
}
