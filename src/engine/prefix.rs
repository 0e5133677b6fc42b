//! Keys and values of prompts seen before. Few-shot prompts begin alike; what begins alike is computed once.

use crate::model::cache::{KvCache, Prefix};

/// Shorter beginnings are cheaper to compute than to look after.
pub const SHORTEST: usize = 32;

struct Entry {
    tokens: Vec<i64>,
    prefix: Prefix,
    hits: usize,
    used: u64,
}

/// How many tokens of `prompt` need not be computed where those of `known` are: as many as both begin with, if that is
/// [`SHORTEST`] at least, but never the last, which must be computed to go on from it.
pub fn worth(known: &[i64], prompt: &[i64]) -> usize {
    let most = prompt.len().saturating_sub(1);
    let shared = known
        .iter()
        .zip(&prompt[..most])
        .take_while(|(a, b)| a == b)
        .count();
    if shared >= SHORTEST { shared } else { 0 }
}

/// A bounded store of prompt beginnings. What was never asked for again leaves first, then what was asked for longest ago.
pub struct Prefixes {
    entries: Vec<Entry>,
    budget_tokens: usize,
    clock: u64,
}

impl Prefixes {
    /// A store of up to `budget_tokens` tokens; 0 switches it off.
    pub fn new(budget_tokens: usize) -> Prefixes {
        Prefixes {
            entries: Vec::new(),
            budget_tokens,
            clock: 0,
        }
    }

    /// Fills slot `slot` with the longest stored beginning of `prompt`, and says how many tokens that were: none, or
    /// at least [`SHORTEST`], and never the whole prompt, whose last token must be computed to go on from it.
    pub fn fill(&mut self, prompt: &[i64], cache: &mut KvCache, slot: i64) -> usize {
        self.clock += 1;
        let Some((length, index)) = self.best(prompt) else {
            return 0;
        };
        let entry = &mut self.entries[index];
        cache.put_prefix(slot, &entry.prefix, length);
        entry.hits += 1;
        entry.used = self.clock;
        // The first time two prompts meet shows where they part; what follows belongs to one of them only.
        if entry.hits == 1 && length < entry.tokens.len() && 2 * length >= entry.tokens.len() {
            entry.tokens.truncate(length);
            entry.prefix = entry.prefix.first(length);
        }
        length
    }

    /// How many tokens [`Prefixes::fill`] would fill in.
    pub fn longest(&self, prompt: &[i64]) -> usize {
        self.best(prompt).map_or(0, |(length, _)| length)
    }

    /// The entry that spares `prompt` most tokens, if any does, and how many; of equal ones the most used.
    fn best(&self, prompt: &[i64]) -> Option<(usize, usize)> {
        let worths = self.entries.iter().enumerate();
        let worths = worths.map(|(index, entry)| (worth(&entry.tokens, prompt), entry.hits, index));
        let (length, _, index) = worths.max()?;
        (length > 0).then_some((length, index))
    }

    /// Considers keeping `prompt`, just computed in `slot`, of which `reused` tokens came from here.
    pub fn offer(&mut self, prompt: &[i64], reused: usize, cache: &KvCache, slot: i64) {
        if prompt.len() < SHORTEST || prompt.len() > self.budget_tokens || 2 * reused >= prompt.len() {
            return;
        }
        self.clock += 1;
        let entry = Entry {
            tokens: prompt.to_vec(),
            prefix: cache.take_prefix(slot, prompt.len() as i64),
            hits: 0,
            used: self.clock,
        };
        self.entries.push(entry);
        while self.entries.iter().map(|e| e.tokens.len()).sum::<usize>() > self.budget_tokens {
            let oldest =
                (0..self.entries.len()).min_by_key(|&i| (self.entries[i].hits > 0, self.entries[i].used));
            self.entries
                .swap_remove(oldest.expect("over budget, so not empty"));
        }
    }
}
