//! A KV cache of slots: one contiguous block for each sequence, all equally long. A sequence is
//! read in one piece, which is fastest on the CPU. Prefixes, growth and moves copy.
//!
//! Shapes: `s` slots, `c` capacity of a slot in tokens, `k` key/value heads, `d` features of a
//! head, `n` tokens.

use tch::{Device, Kind, Tensor};

use super::growth::{self, Shape};
use crate::model::ModelInfo;

/// Storage of `slots` sequences of up to `capacity` tokens each: `k_sckd` and `v_sckd` of each
/// layer, so that a token's write is one contiguous row.
#[derive(Debug)]
pub struct SlotCache {
    layers: Vec<(Tensor, Tensor)>,
    slots: i64,
    capacity: i64,
    kv_heads: i64,
    head_dim: i64,
    options: (Kind, Device),
}

impl SlotCache {
    /// Returns an empty cache for `info`'s layers. Memory is allocated by [`SlotCache::reserve`].
    pub fn new(info: &ModelInfo, options: (Kind, Device)) -> SlotCache {
        SlotCache::of(info.layers, info.kv_heads, info.head_dim, options)
    }

    fn of(layers: usize, kv_heads: i64, head_dim: i64, options: (Kind, Device)) -> SlotCache {
        let empty = || Tensor::zeros([0, 0, kv_heads, head_dim], options);
        SlotCache {
            layers: (0..layers).map(|_| (empty(), empty())).collect(),
            slots: 0,
            capacity: 0,
            kv_heads,
            head_dim,
            options,
        }
    }

    /// Returns an empty cache for the same layers.
    pub fn emptied(&self) -> SlotCache {
        SlotCache::of(self.layers.len(), self.kv_heads, self.head_dim, self.options)
    }

    /// Makes room for `slots` sequences of `capacity` tokens and keeps the contents. Grows as
    /// [`growth::grown`] does without a limit.
    pub fn reserve(&mut self, slots: i64, capacity: i64) {
        let (slots, capacity) =
            growth::grown(self.shape(), (slots, capacity), (i64::MAX, i64::MAX), |_| true);
        self.resize(slots, capacity);
    }

    /// Resizes to exactly `slots` slots of `capacity` tokens, and keeps what fits. Where memory
    /// runs out midway, the cache is of no use any more.
    pub fn resize(&mut self, slots: i64, capacity: i64) {
        if (slots, capacity) == self.shape() {
            return;
        }
        let _guard = tch::no_grad_guard();
        let (kept_slots, kept) = (self.slots.min(slots), self.capacity.min(capacity));
        for (k, v) in &mut self.layers {
            for old in [k, v] {
                // Zeros: a NaN in memory never written would poison the sum even with a weight of
                // zero.
                let new = Tensor::zeros([slots, capacity, self.kv_heads, self.head_dim], self.options);
                if kept_slots > 0 && kept > 0 {
                    let block = |x: &Tensor| x.narrow(0, 0, kept_slots).narrow(1, 0, kept);
                    block(&new).copy_(&block(old));
                }
                *old = new;
            }
        }
        (self.slots, self.capacity) = (slots, capacity);
    }

    /// Returns how many sequences there is room for, and the capacity of each in tokens.
    pub fn shape(&self) -> Shape {
        (self.slots, self.capacity)
    }

    /// Returns keys and values of a layer, all slots at full capacity: `k_sckd`, `v_sckd`.
    pub fn layer(&self, layer: usize) -> (&Tensor, &Tensor) {
        let (k, v) = &self.layers[layer];
        (k, v)
    }

    /// Copies the first `length` tokens of slot `from` to the beginning of slot `to`. What the
    /// latter had is gone.
    pub fn move_row(&mut self, from: i64, to: i64, length: i64) {
        for x in self.both() {
            x.get(to)
                .narrow(0, 0, length)
                .copy_(&x.get(from).narrow(0, 0, length));
        }
    }

    /// Writes zeros to a whole slot.
    pub fn wipe(&mut self, slot: i64) {
        for x in self.both() {
            let _ = x.get(slot).zero_();
        }
    }

    /// Returns a copy of the first `length` tokens of a slot, `[2 · layers, n, k, d]`: keys and
    /// values of each layer in turn, in one block of memory. Many small blocks that stay would
    /// fragment the memory between them.
    pub fn copy_of(&self, slot: i64, length: i64) -> Tensor {
        let views: Vec<Tensor> = self.both().map(|x| x.get(slot).narrow(0, 0, length)).collect();
        // Models without layers occur in tests.
        match views.is_empty() {
            true => Tensor::new(),
            false => Tensor::stack(&views, 0),
        }
    }

    /// Copies the first `length` tokens of `layer_pairs`, as of [`SlotCache::copy_of`], into a
    /// slot.
    pub fn fill(&mut self, slot: i64, layer_pairs: &Tensor, length: i64) {
        for (index, x) in (0..).zip(self.both()) {
            let kept = layer_pairs.get(index).narrow(0, 0, length);
            x.get(slot).narrow(0, 0, length).copy_(&kept);
        }
    }

    /// Iterates over keys and values of each layer in turn.
    fn both(&self) -> impl Iterator<Item = &Tensor> {
        self.layers.iter().flat_map(|(k, v)| [k, v])
    }
}
