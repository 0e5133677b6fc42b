//! A KV cache of pages, as flash attention reads it: one pool, of which every sequence has the
//! pages of its table. Sequences that begin alike share pages. A sequence grows by taking a page,
//! and its slot is the row of its table: no key or value is copied for either.
//!
//! Shapes: `p` pages of [`PAGE`] tokens, `k` key/value heads, `d` features of a head.

use tch::{Device, Kind, Tensor};

use super::pages::{PageCopy, PagePool, PageTable};
use crate::model::ModelInfo;
use crate::shim::paged::PAGE;

/// A pool of pages, and the tables of its sequences.
#[derive(Debug)]
pub struct PageCache {
    pool: PagePool,
    /// The pages of each slot; none where no sequence is.
    tables: Vec<PageTable>,
    /// Keys and values of each layer in turn, `[2 · layers, p, PAGE, k, d]`.
    memory: Tensor,
    /// Views of it: `k_ppkd` and `v_ppkd` of each layer.
    layers: Vec<(Tensor, Tensor)>,
    options: (Kind, Device),
}

/// Returns how many pages `tokens` tokens take.
pub fn pages_of(tokens: i64) -> i64 {
    tokens.saturating_add(PAGE - 1) / PAGE
}

impl PageCache {
    /// Returns a cache for `info`'s layers without pages, which come by [`PageCache::provide`].
    ///
    /// # Panics
    ///
    /// If attention's scores are capped, which rules pages out.
    pub fn new(info: &ModelInfo, options: (Kind, Device)) -> PageCache {
        assert!(!info.capped, "capped scores are not computed over pages");
        let size = [2 * info.layers as i64, 0, PAGE, info.kv_heads, info.head_dim];
        PageCache::of(Tensor::zeros(size, options), options)
    }

    fn of(memory: Tensor, options: (Kind, Device)) -> PageCache {
        let size = memory.size();
        let layers = (0..size[0] / 2).map(|layer| (memory.get(2 * layer), memory.get(2 * layer + 1)));
        PageCache {
            pool: PagePool::new(PAGE, size[1] as usize),
            tables: Vec::new(),
            layers: layers.collect(),
            memory,
            options,
        }
    }

    /// Returns a cache for the same layers without pages.
    pub fn emptied(&self) -> PageCache {
        let mut size = self.memory.size();
        size[1] = 0;
        PageCache::of(Tensor::zeros(size, self.options), self.options)
    }

    /// Replaces the pool by one of `pages` free pages. Sequences are gone, and prefixes of before
    /// must not be used any more.
    ///
    /// # Panics
    ///
    /// If there is no memory for it. There are no pages then.
    pub fn provide(&mut self, pages: usize) {
        // Or both pools would be there at once.
        *self = self.emptied();
        let mut size = self.memory.size();
        size[1] = pages as i64;
        let _guard = tch::no_grad_guard();
        // Zeros: memory never written may hold NaN, which would show wherever it was read.
        *self = PageCache::of(Tensor::zeros(size, self.options), self.options);
    }

    /// Returns how many pages there are.
    pub fn total(&self) -> usize {
        self.pool.total()
    }

    /// Returns how many pages sequences and prefixes have.
    pub fn used(&self) -> usize {
        self.pool.total() - self.pool.free()
    }

    /// Returns how many pages would be left, free or of prefixes alone, if one more sequence of
    /// `tokens` tokens joined, whose first ones are those of `known`: a table and how many of its
    /// tokens. Negative if there are too few.
    pub fn left_beside(&self, tokens: i64, known: Option<(&PageTable, i64)>) -> i64 {
        let mut held = vec![false; self.pool.total()];
        let mut count = 0;
        for page in self.tables.iter().flat_map(PageTable::pages) {
            count += i64::from(!std::mem::replace(&mut held[*page as usize], true));
        }
        // Pages of other sequences cost nothing. One that is shared in part is copied.
        let shared = known.map_or(0, |(table, length)| {
            let whole = &table.pages()[..(length / PAGE) as usize];
            whole.iter().filter(|&&page| held[page as usize]).count() as i64
        });
        self.pool.total() as i64 - count - (pages_of(tokens) - shared)
    }

    /// Adds slots without pages until there are `slots`.
    pub fn reserve(&mut self, slots: i64) {
        let slots = self.tables.len().max(slots as usize);
        self.tables.resize_with(slots, PageTable::default);
    }

    /// Prepares a slot whose first `start` tokens stay for writing tokens `start..end`: takes the
    /// pages that are missing. If it shares the page that `start` lies in, it gets one of its own,
    /// to which the tokens before `start` are copied. Returns false, and changes nothing, if there
    /// are too few free pages.
    pub fn prepare(&mut self, slot: i64, start: i64, end: i64) -> bool {
        self.reserve(slot + 1);
        match self.pool.prepare(&mut self.tables[slot as usize], start, end) {
            Ok(copy) => {
                copy.iter().for_each(|copy| self.copy(copy));
                true
            }
            Err(_) => false,
        }
    }

    /// In all layers at once.
    fn copy(&self, &PageCopy { from, to, tokens }: &PageCopy) {
        let _guard = tch::no_grad_guard();
        let tokens_of = |page: i32| self.memory.narrow(1, i64::from(page), 1).narrow(2, 0, tokens);
        tokens_of(to).copy_(&tokens_of(from));
    }

    /// Returns how many layers there are.
    #[cfg(test)]
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Returns keys and values of a layer, `k_ppkd` and `v_ppkd`.
    pub fn layer(&self, layer: usize) -> (&Tensor, &Tensor) {
        let (k, v) = &self.layers[layer];
        (k, v)
    }

    /// Returns the pages of each slot.
    pub fn tables(&self) -> &[PageTable] {
        &self.tables
    }

    /// Exchanges the tables of two slots.
    pub fn swap(&mut self, one: i64, other: i64) {
        self.tables.swap(one as usize, other as usize);
    }

    /// Gives the pages of a slot back.
    pub fn empty_slot(&mut self, slot: i64) {
        self.reserve(slot + 1);
        let table = std::mem::take(&mut self.tables[slot as usize]);
        self.pool.release(table);
    }

    /// Writes zeros to the pages that only this slot has.
    pub fn wipe(&mut self, slot: i64) {
        let _guard = tch::no_grad_guard();
        for &page in self.tables[slot as usize].pages() {
            if self.pool.is_alone(page) {
                let _ = self.memory.narrow(1, i64::from(page), 1).zero_();
            }
        }
    }

    /// Returns a table of the pages that the first `length` tokens of a slot lie in. It must be
    /// given back by [`PageCache::release`].
    pub fn share(&mut self, slot: i64, length: i64) -> PageTable {
        self.pool.share(&self.tables[slot as usize], length)
    }

    /// Gives a slot the first `length` tokens of a table, by its pages. What the slot had is given
    /// back.
    pub fn adopt(&mut self, slot: i64, table: &PageTable, length: i64) {
        let shared = self.pool.share(table, length);
        self.empty_slot(slot);
        self.tables[slot as usize] = shared;
    }

    /// Gives back the pages of a table beyond its first `length` tokens.
    pub fn shorten(&mut self, table: &mut PageTable, length: i64) {
        self.pool.shorten(table, length);
    }

    /// Gives back the pages of a table.
    pub fn release(&mut self, table: PageTable) {
        self.pool.release(table);
    }

    /// Returns how many pages would be free without this table.
    pub fn freed_by(&self, table: &PageTable) -> usize {
        self.pool.freed_by(table)
    }

    /// Checks that slots and these prefixes have all pages that are not free.
    ///
    /// # Panics
    ///
    /// If not.
    #[cfg(test)]
    pub fn check<'t>(&'t self, prefixes: impl Iterator<Item = &'t PageTable>) {
        self.pool.check(prefixes.chain(&self.tables));
    }
}
