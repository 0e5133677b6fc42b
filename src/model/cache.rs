//! Keys and values of tokens already computed, in one of two forms: slots on the CPU, pages of a
//! pool where flash attention reads them. Both store each token's keys and values once, find a
//! sequence by the number of its slot, and keep prefixes for sequences that begin alike.
//!
//! Shapes: `s` slots (one for each sequence), `c` capacity in tokens, `p` pages of 256 tokens, `k`
//! key/value heads, `d` features of a head, `n` tokens.

pub mod growth;
mod page_cache;
mod pages;
mod pass_places;
mod prefix;
mod slot_cache;

use tch::{Device, Kind, Tensor};

use super::ModelInfo;
use crate::shim::paged::{PAGE, capability, takes_pages};
pub use page_cache::{PageCache, pages_of};
pub use pass_places::PassPlaces;
pub use prefix::Prefix;
pub use slot_cache::SlotCache;

/// Key and value storage of one model.
#[derive(Debug)]
pub enum KvCache {
    /// One contiguous block for each sequence.
    Slots(SlotCache),
    /// Pages of a pool for all sequences.
    Pages(PageCache),
}

impl KvCache {
    /// Returns an empty cache for `info`'s layers, in the form that is fastest on `device`. Slots
    /// get memory by [`KvCache::hold`], pages by [`PageCache::provide`].
    pub fn new(info: &ModelInfo, kind: Kind, device: Device) -> KvCache {
        match KvCache::has_pages(info, kind, device) {
            true => KvCache::Pages(PageCache::new(info, (kind, device))),
            false => KvCache::Slots(SlotCache::new(info, (kind, device))),
        }
    }

    /// Returns whether a model's cache is one of pages.
    pub fn has_pages(info: &ModelInfo, kind: Kind, device: Device) -> bool {
        KvCache::has_pages_at(info, kind, capability(device))
    }

    /// Returns whether a model's cache is one of pages on a GPU of this compute capability, which
    /// is none off CUDA. Capped scores rule pages out, since nothing that reads pages caps them.
    pub fn has_pages_at(info: &ModelInfo, kind: Kind, capability: Option<(u32, u32)>) -> bool {
        !info.capped && takes_pages(kind, info.head_dim, capability)
    }

    /// Returns a cache of `pages` pages on the CPU, where the pass computes attention and rotation
    /// by the twins of the GPU's kernels.
    #[cfg(test)]
    pub fn paged(info: &ModelInfo, kind: Kind, pages: usize) -> KvCache {
        let mut cache = PageCache::new(info, (kind, Device::Cpu));
        cache.provide(pages);
        KvCache::Pages(cache)
    }

    /// Returns an empty cache of the same form, without memory.
    pub fn emptied(&self) -> KvCache {
        match self {
            KvCache::Slots(cache) => KvCache::Slots(cache.emptied()),
            KvCache::Pages(cache) => KvCache::Pages(cache.emptied()),
        }
    }

    /// Returns the bytes of one token in a model's cache.
    pub fn bytes_per_token(info: &ModelInfo, kind: Kind) -> usize {
        let width = if kind == Kind::Float { 4 } else { 2 };
        2 * info.layers * (info.kv_heads * info.head_dim) as usize * width
    }

    /// Returns the most tokens of one sequence in `bytes` bytes of a model's cache.
    pub fn tokens_within(bytes: usize, info: &ModelInfo, kind: Kind, device: Device) -> usize {
        let tokens = bytes / KvCache::bytes_per_token(info, kind).max(1);
        match KvCache::has_pages(info, kind, device) {
            true => tokens / PAGE as usize * PAGE as usize,
            false => tokens,
        }
    }

    /// Makes room for `slots` sequences: in a cache of slots for `tokens` tokens of each, and the
    /// contents are kept. Pages are taken when there are tokens for them.
    #[cfg(test)]
    pub fn reserve(&mut self, slots: i64, tokens: i64) {
        match self {
            KvCache::Slots(cache) => cache.reserve(slots, tokens),
            KvCache::Pages(cache) => cache.reserve(slots),
        }
    }

    /// Makes room for new tokens of sequences, each given by its slot, its cached tokens and its
    /// new ones.
    ///
    /// # Panics
    ///
    /// If the pool has too few free pages.
    pub fn hold(&mut self, spans: impl Iterator<Item = (i64, i64, i64)>) {
        match self {
            KvCache::Slots(cache) => {
                let (slots, tokens) = spans.fold((0, 0), |(slots, tokens), (slot, start, length)| {
                    (slots.max(slot + 1), tokens.max(start + length))
                });
                cache.reserve(slots, tokens);
            }
            KvCache::Pages(cache) => {
                for (slot, start, length) in spans {
                    let fits = cache.prepare(slot, start, start + length);
                    assert!(fits, "too few free pages for keys and values");
                }
            }
        }
    }

    /// Stores `k_btkd` and `v_btkd` at places `places_n` (int64, `n = b·t`): `slot · capacity +
    /// position`, or those of [`KvCache::pass_places`].
    pub fn write(&mut self, layer: usize, places_n: &Tensor, k_btkd: &Tensor, v_btkd: &Tensor) {
        let (k, v) = match self {
            KvCache::Slots(cache) => cache.layer(layer),
            KvCache::Pages(cache) => cache.layer(layer),
        };
        for (all, new) in [(k, k_btkd), (v, v_btkd)] {
            let size = all.size();
            let flat = [-1, size[2], size[3]];
            let _ = all.view(flat).index_copy_(0, places_n, &new.reshape(flat));
        }
    }

    /// Returns keys and values of a layer in a cache of slots, all at full capacity: `k_sckd`,
    /// `v_sckd`.
    pub fn layer(&self, layer: usize) -> (Tensor, Tensor) {
        let KvCache::Slots(cache) = self else {
            unreachable!("pages are read by their tables");
        };
        let (k, v) = cache.layer(layer);
        (k.shallow_clone(), v.shallow_clone())
    }

    /// Returns keys and values of a layer in a cache of pages, `[p, 256, k, d]` each.
    pub fn pages(&self, layer: usize) -> (&Tensor, &Tensor) {
        let KvCache::Pages(cache) = self else {
            unreachable!("slots are read in one piece");
        };
        cache.layer(layer)
    }

    /// Returns the capacity in tokens of each slot in a cache of slots.
    pub fn capacity(&self) -> i64 {
        match self {
            KvCache::Slots(cache) => cache.shape().1,
            KvCache::Pages(_) => unreachable!("pages have no capacity of their own"),
        }
    }

    /// Returns where the tokens of a pass lie in a cache of pages, of sequences given as to
    /// [`KvCache::hold`]; none in a cache of slots.
    pub fn pass_places(&self, spans: impl Iterator<Item = (i64, i64, i64)> + Clone) -> Option<PassPlaces> {
        let KvCache::Pages(cache) = self else {
            return None;
        };
        let tables = cache.tables();
        let widths = spans
            .clone()
            .map(|(slot, ..)| tables[slot as usize].pages().len());
        let mut places = PassPlaces::new(widths.max().unwrap_or(0));
        for (slot, start, length) in spans {
            places.add(&tables[slot as usize], start, length);
        }
        Some(places)
    }

    /// Moves the first `length` tokens of slot `from` to slot `to`. What the latter had is gone, or
    /// in the former. Pages stay where they are: the tables change places.
    pub fn move_row(&mut self, from: i64, to: i64, length: i64) {
        match self {
            KvCache::Slots(cache) => cache.move_row(from, to, length),
            KvCache::Pages(cache) => cache.swap(from, to),
        }
    }

    /// Takes a sequence out of its slot, and moves the sequence of slot `last`, of `length` tokens,
    /// into it, unless it is the same one.
    pub fn vacate(&mut self, slot: i64, last: i64, length: i64) {
        if slot != last {
            self.move_row(last, slot, length);
        }
        if let KvCache::Pages(cache) = self {
            cache.empty_slot(last);
        }
    }

    /// Writes zeros to all that only this slot has.
    pub fn wipe(&mut self, slot: i64) {
        match self {
            KvCache::Slots(cache) => cache.wipe(slot),
            KvCache::Pages(cache) => cache.wipe(slot),
        }
    }

    /// Returns the first `length` tokens of a slot: a copy, or pages that are shared from now on.
    pub fn take_prefix(&mut self, slot: i64, length: i64) -> Prefix {
        match self {
            KvCache::Slots(cache) => Prefix::Copied(cache.copy_of(slot, length)),
            KvCache::Pages(cache) => Prefix::Shared(cache.share(slot, length)),
        }
    }

    /// Gives a slot the first `length` tokens of `prefix`: a copy, or its pages. The slot must have
    /// no sequence.
    ///
    /// # Panics
    ///
    /// If the prefix is of a cache of the other form.
    pub fn put_prefix(&mut self, slot: i64, prefix: &Prefix, length: usize) {
        match (self, prefix) {
            (KvCache::Slots(cache), Prefix::Copied(pairs)) => cache.fill(slot, pairs, length as i64),
            (KvCache::Pages(cache), Prefix::Shared(table)) => cache.adopt(slot, table, length as i64),
            _ => unreachable!("a prefix is of the form of its cache"),
        }
    }

    /// Shortens a prefix to its first `length` tokens.
    pub fn shorten_prefix(&mut self, prefix: &mut Prefix, length: usize) {
        match (self, prefix) {
            (KvCache::Pages(cache), Prefix::Shared(table)) => cache.shorten(table, length as i64),
            (_, Prefix::Copied(pairs)) => *pairs = pairs.narrow(1, 0, length as i64).copy(),
            _ => unreachable!("a prefix is of the form of its cache"),
        }
    }

    /// Gives back the pages of a prefix, or frees its copy.
    pub fn drop_prefix(&mut self, prefix: Prefix) {
        if let (KvCache::Pages(cache), Prefix::Shared(table)) = (self, prefix) {
            cache.release(table);
        }
    }

    /// Returns how many pages would be free without this prefix: 0 where there are no pages.
    pub fn freed_by(&self, prefix: &Prefix) -> usize {
        match (self, prefix) {
            (KvCache::Pages(cache), Prefix::Shared(table)) => cache.freed_by(table),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests;
