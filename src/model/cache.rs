//! Keys and values of tokens already seen. Shapes: `s` slots (one a sequence), `c` capacity in tokens, `k` key/value
//! heads, `d` features of a head, `l` visible tokens; storage is `k_sckd`, so that a token's write is one
//! contiguous row and a sequence is one contiguous block.

use tch::{Device, Kind, Tensor};

use super::ModelInfo;
use super::room::{self, Shape};

/// Storage of one model's keys and values: `slots` sequences of up to `capacity` tokens each.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<(Tensor, Tensor)>,
    slots: i64,
    capacity: i64,
    kv_heads: i64,
    head_dim: i64,
    options: (Kind, Device),
}

/// Keys and values of the first tokens of some sequence, copied out of a cache: those of all layers in one piece of memory, since
/// many small ones that stay would tear apart what comes and goes between them.
#[derive(Debug)]
pub struct Prefix {
    /// `[2 · layers, n, k, d]`: keys and values by turns.
    layer_pairs: Tensor,
}

impl KvCache {
    /// An empty cache for `info`'s layers; memory is taken when [`KvCache::reserve`] asks for it.
    pub fn new(info: &ModelInfo, kind: Kind, device: Device) -> KvCache {
        let empty = || Tensor::zeros([0, 0, info.kv_heads, info.head_dim], (kind, device));
        KvCache {
            layers: (0..info.layers).map(|_| (empty(), empty())).collect(),
            slots: 0,
            capacity: 0,
            kv_heads: info.kv_heads,
            head_dim: info.head_dim,
            options: (kind, device),
        }
    }

    /// Bytes that one token takes in a model's cache.
    pub fn bytes_per_token(info: &ModelInfo, kind: Kind) -> usize {
        let width = if kind == Kind::Float { 4 } else { 2 };
        2 * info.layers * (info.kv_heads * info.head_dim) as usize * width
    }

    /// Makes room for `slots` sequences of `capacity` tokens, keeping what is there; grows as [`room::grown`] does where
    /// there is no limit.
    pub fn reserve(&mut self, slots: i64, capacity: i64) {
        let (slots, capacity) = room::grown(self.shape(), (slots, capacity), (i64::MAX, i64::MAX), |_| true);
        self.resize(slots, capacity);
    }

    /// Has exactly `slots` slots of `capacity` tokens from now on, keeping what fits.
    pub fn resize(&mut self, slots: i64, capacity: i64) {
        if (slots, capacity) == self.shape() {
            return;
        }
        let _guard = tch::no_grad_guard();
        let (kept_slots, kept) = (self.slots.min(slots), self.capacity.min(capacity));
        for (k, v) in &mut self.layers {
            for old in [k, v] {
                // Zeros: a NaN in a place never written would poison the sum even with a weight of zero.
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

    /// Sequences it has room for, and tokens that each may have.
    pub fn shape(&self) -> Shape {
        (self.slots, self.capacity)
    }

    /// Tokens a sequence may have.
    pub fn capacity(&self) -> i64 {
        self.capacity
    }

    /// Stores `k_btkd` and `v_btkd` at flat places `slot · capacity + position`, `places_n` (int64, `n = b·t`).
    pub fn write(&mut self, layer: usize, places_n: &Tensor, k_btkd: &Tensor, v_btkd: &Tensor) {
        let (k, v) = &self.layers[layer];
        let flat = [-1, self.kv_heads, self.head_dim];
        let _ = k.view(flat).index_copy_(0, places_n, &k_btkd.reshape(flat));
        let _ = v.view(flat).index_copy_(0, places_n, &v_btkd.reshape(flat));
    }

    /// Keys and values of a layer, all slots with all their room: `k_sckd`, `v_sckd`.
    pub fn layer(&self, layer: usize) -> (Tensor, Tensor) {
        let (k, v) = &self.layers[layer];
        (k.shallow_clone(), v.shallow_clone())
    }

    /// Copies the first `length` tokens of slot `from` over those of slot `to`.
    pub fn move_row(&mut self, from: i64, to: i64, length: i64) {
        for x in self.both() {
            x.get(to)
                .narrow(0, 0, length)
                .copy_(&x.get(from).narrow(0, 0, length));
        }
    }

    /// Writes zeros to all of a slot.
    pub fn wipe(&mut self, slot: i64) {
        for x in self.both() {
            let _ = x.get(slot).zero_();
        }
    }

    /// Copies the first `length` tokens of a slot out.
    pub fn take_prefix(&self, slot: i64, length: i64) -> Prefix {
        let views: Vec<Tensor> = self.both().map(|x| x.get(slot).narrow(0, 0, length)).collect();
        // A model without layers, as tests have, keeps nothing.
        let layer_pairs = match views.is_empty() {
            true => Tensor::new(),
            false => Tensor::stack(&views, 0),
        };
        Prefix { layer_pairs }
    }

    /// Copies the first `length` tokens of `prefix` into a slot.
    pub fn put_prefix(&mut self, slot: i64, prefix: &Prefix, length: usize) {
        let length = length as i64;
        for (index, x) in self.both().enumerate() {
            let kept = prefix.layer_pairs.get(index as i64);
            x.get(slot).narrow(0, 0, length).copy_(&kept.narrow(0, 0, length));
        }
    }

    /// Keys and values of all layers by turns.
    fn both(&self) -> impl Iterator<Item = &Tensor> {
        self.layers.iter().flat_map(|(k, v)| [k, v])
    }
}

impl Prefix {
    /// A copy of its first `length` tokens.
    pub fn first(&self, length: usize) -> Prefix {
        Prefix {
            layer_pairs: self.layer_pairs.narrow(1, 0, length as i64).copy(),
        }
    }
}
