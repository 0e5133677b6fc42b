//! One pass of tokens through a model: where they stand, what they may look at, and attention itself.
//!
//! Shapes: `b` rows, `t` new tokens a row, `h` query heads, `k` key/value heads, `g = h/k` query heads a key/value
//! head, `d` features of a head, `l` visible tokens; `q_bthd`.

use tch::{Device, Kind, Tensor};

use super::cache::KvCache;
use super::rope::{Angles, Rope, positions_from_zero};

/// What one forward call needs besides the tokens. Masks and rotary angles are made once and shared by all layers.
///
/// Rows are padded on the right: attention is causal, so padding is seen by padding only.
#[derive(Debug)]
pub struct Pass<'c> {
    batch: i64,
    time: i64,
    positions_bt: Tensor,
    cached: Option<Cached<'c>>,
    masks: Vec<(Option<i64>, Visible)>,
    angles: Vec<(Rope, Angles)>,
}

/// Rows of a cache: row `i` of the batch is slot `first + i`, and holds `starts[i]` tokens already.
#[derive(Debug)]
struct Cached<'c> {
    cache: &'c mut KvCache,
    first: i64,
    starts: Vec<i64>,
    places_n: Tensor,
}

/// The stretch of keys that the tokens of a pass look at, and which of them each may see.
#[derive(Debug)]
struct Visible {
    from: i64,
    to: i64,
    /// Added to the scores, 0 or -inf, `[b or 1, 1, t, l]`; none where causality or nothing is the whole rule.
    mask: Option<Tensor>,
}

impl<'c> Pass<'c> {
    /// Whole sequences from their first token, nothing remembered: what training and scoring use.
    pub fn whole(batch: i64, time: i64, device: Device) -> Pass<'static> {
        Pass {
            batch,
            time,
            positions_bt: positions_from_zero(batch, time, device),
            cached: None,
            masks: Vec::new(),
            angles: Vec::new(),
        }
    }

    /// The next `time` tokens of the sequences in slots `first..first + starts.len()`, which hold `starts` tokens.
    /// Room is made for them. Padding is written too, beyond the row's end, where the next tokens replace it.
    pub fn cached(cache: &'c mut KvCache, first: i64, starts: &[i64], time: i64, device: Device) -> Pass<'c> {
        let batch = starts.len() as i64;
        let longest = starts.iter().max().copied().unwrap_or(0) + time;
        cache.reserve(first + batch, longest);
        let starts_b1 = Tensor::from_slice(starts).unsqueeze(1);
        let positions_bt = starts_b1 + Tensor::arange(time, (Kind::Int64, Device::Cpu));
        let slots_b1 = Tensor::arange_start(first, first + batch, (Kind::Int64, Device::Cpu)).unsqueeze(1);
        let places_n = (slots_b1 * cache.capacity() + &positions_bt)
            .flatten(0, 1)
            .to_device(device);
        Pass {
            batch,
            time,
            positions_bt: positions_bt.to_device(device),
            cached: Some(Cached {
                cache,
                first,
                starts: starts.to_vec(),
                places_n,
            }),
            masks: Vec::new(),
            angles: Vec::new(),
        }
    }

    /// Turns queries or keys `x_bthd` to their positions.
    pub fn turn(&mut self, rope: &Rope, x_bthd: &Tensor) -> Tensor {
        if !self.angles.iter().any(|(known, _)| known == rope) {
            self.angles
                .push((*rope, rope.angles(&self.positions_bt, x_bthd.kind())));
        }
        let (_, angles) = self
            .angles
            .iter()
            .find(|(known, _)| known == rope)
            .expect("made above");
        rope.apply(x_bthd, angles)
    }

    /// Attention of layer `layer`: `softmax(scale · q kᵀ) v`, each token seeing itself and those before it, at most
    /// `window` of them. `q_bthd`, `k_btkd`, `v_btkd` to `[b, t, h·d]`. Remembers keys and values in the cache.
    ///
    /// libtorch's fused kernels keep scores and softmax in fp32 whatever the inputs' type.
    pub fn attend(
        &mut self,
        layer: usize,
        q_bthd: &Tensor,
        k_btkd: &Tensor,
        v_btkd: &Tensor,
        scale: f64,
        window: Option<i64>,
    ) -> Tensor {
        let size = q_bthd.size();
        let (batch, time, heads, dim) = (size[0], size[1], size[2], size[3]);
        debug_assert_eq!(
            (batch, time),
            (self.batch, self.time),
            "a pass is for tokens of one shape"
        );
        let groups = heads / k_btkd.size()[2];
        if let Some(cached) = &mut self.cached {
            cached.cache.write(layer, &cached.places_n, k_btkd, v_btkd);
        }
        let slot = self.visible(window, q_bthd.kind(), q_bthd.device());
        let visible = &self.masks[slot].1;

        // From the start of every row the new keys are all there is: no need to read them back.
        let (k_blkd, v_blkd) = match &self.cached {
            Some(cached) if cached.starts.iter().any(|&start| start > 0) => {
                cached
                    .cache
                    .read(layer, cached.first, batch, visible.from, visible.to)
            }
            _ => (k_btkd.shallow_clone(), v_btkd.shallow_clone()),
        };
        let (k_bkld, v_bkld) = (k_blkd.transpose(1, 2), v_blkd.transpose(1, 2));
        let mask = visible.mask.as_ref();
        if time == 1 {
            // One query a head: the g heads that share keys become g queries of one head, and nothing is copied.
            let q_bkgd = q_bthd.view([batch, heads / groups, groups, dim]);
            let o_bkgd = fused(&q_bkgd, &k_bkld, &v_bkld, mask, false, scale);
            return o_bkgd.reshape([batch, 1, heads * dim]);
        }
        let (k_bhld, v_bhld) = (repeat_heads(&k_bkld, groups), repeat_heads(&v_bkld, groups));
        let o_bhtd = fused(
            &q_bthd.transpose(1, 2),
            &k_bhld,
            &v_bhld,
            mask,
            mask.is_none(),
            scale,
        );
        o_bhtd.transpose(1, 2).reshape([batch, time, heads * dim])
    }

    /// Index in `self.masks` of what `window` lets this pass see, made at the first call.
    fn visible(&mut self, window: Option<i64>, kind: Kind, device: Device) -> usize {
        if let Some(index) = self.masks.iter().position(|(known, _)| *known == window) {
            return index;
        }
        let zeros;
        let starts: &[i64] = match &self.cached {
            Some(cached) => &cached.starts,
            None => {
                zeros = [0];
                &zeros
            }
        };
        let (least, most) = (
            starts.iter().min().copied().unwrap_or(0),
            starts.iter().max().copied().unwrap_or(0),
        );
        let to = most + self.time;
        // Keys before every row's window need not be read at all.
        let from = window.map_or(0, |window| (least + 1 - window).max(0));
        let crossed = window.is_some_and(|window| to > window);
        let causal_is_all = most == 0 && !crossed;
        let all_is_visible = self.time == 1 && least == most && to - from <= window.unwrap_or(i64::MAX);
        let mask = if causal_is_all || all_is_visible {
            None
        } else {
            let keys_l = Tensor::arange_start(from, to, (Kind::Int64, device));
            let positions = if self.cached.is_some() {
                self.positions_bt.shallow_clone()
            } else {
                self.positions_bt.narrow(0, 0, 1)
            };
            let queries_bt1 = positions.unsqueeze(-1);
            let mut hidden_btl = keys_l.gt_tensor(&queries_bt1);
            if let Some(window) = window {
                hidden_btl = hidden_btl.logical_or(&keys_l.le_tensor(&(queries_bt1 - window)));
            }
            let zero = Tensor::zeros(hidden_btl.size(), (kind, device));
            Some(zero.masked_fill(&hidden_btl, f64::NEG_INFINITY).unsqueeze(1))
        };
        self.masks.push((window, Visible { from, to, mask }));
        self.masks.len() - 1
    }
}

fn fused(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>, causal: bool, scale: f64) -> Tensor {
    Tensor::scaled_dot_product_attention(q, k, v, mask, 0.0, causal, scale, false)
}

/// `x_bkld` to `x_bhld`: every key/value head `groups` times, in the order of the query heads.
fn repeat_heads(x_bkld: &Tensor, groups: i64) -> Tensor {
    if groups == 1 {
        return x_bkld.shallow_clone();
    }
    let size = x_bkld.size();
    x_bkld
        .unsqueeze(2)
        .expand([size[0], size[1], groups, size[2], size[3]], false)
        .reshape([size[0], size[1] * groups, size[2], size[3]])
}
