//! One pass of tokens through a model: where they stand, what they may look at, and attention itself.
//!
//! Shapes: `b` rows, `t` new tokens a row, `h` query heads, `k` key/value heads, `g = h/k` query heads a key/value
//! head, `d` features of a head, `l` visible tokens; `q_bthd`.

use tch::{Device, Kind, Tensor};

use super::cache::KvCache;
use super::prefix_tree::{PrefixNode, PrefixTree};
use super::rope::{Angles, Rope, positions_from_zero};
use crate::shim::{self, Segment};

pub use crate::shim::{AttentionParams, Rounding};

impl AttentionParams {
    /// As most models weigh keys of `d` features: by `1/√d`, all that came before.
    pub fn by_root(d: i64) -> AttentionParams {
        AttentionParams {
            scale: 1.0 / (d as f64).sqrt(),
            ..AttentionParams::default()
        }
    }
}

/// What one forward call needs besides the tokens. Masks and rotary angles are made once and shared by all layers.
///
/// Its tokens are stretches of sequences, one behind the other: rows of a batch, all of one length, or, in a pass of one
/// row, stretches of any lengths, or whole sequences and what they share. Rows are padded on the right: attention is causal, so
/// padding is seen by padding only.
#[derive(Debug)]
pub struct ForwardPass<'c> {
    batch: i64,
    time: i64,
    positions_bt: Tensor,
    cached: Option<Cached<'c>>,
    segments: Vec<Segment>,
    branches: Option<PrefixTree>,
    wanted: Option<Wanted>,
    masks: Vec<(Option<i64>, Visible)>,
    angles: Vec<(Rope, Angles)>,
}

/// The positions of a row that somebody looks at when the last block is done.
#[derive(Debug)]
struct Wanted {
    last: usize,
    position_w: Tensor,
}

/// Where new keys and values go.
#[derive(Debug)]
struct Cached<'c> {
    cache: &'c mut KvCache,
    /// For every token, `slot · capacity + position`.
    places_n: Tensor,
}

/// New tokens of one sequence in a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuerySpan {
    /// Its slot.
    pub slot: i64,
    /// Tokens that it holds already.
    pub start: i64,
    /// New ones.
    pub length: i64,
}

/// The stretch of keys that the tokens of a pass look at, and which of them each may see.
#[derive(Debug)]
pub(super) struct Visible {
    pub from: i64,
    pub to: i64,
    /// Added to the scores, 0 or -inf, `[b or 1, 1, t, l]`; none where causality or nothing is the whole rule.
    pub mask: Option<Tensor>,
}

impl<'c> ForwardPass<'c> {
    /// Whole sequences from their first token, nothing remembered: what training and scoring use.
    pub fn whole(batch: i64, time: i64, device: Device) -> ForwardPass<'static> {
        ForwardPass {
            batch,
            time,
            positions_bt: positions_from_zero(batch, time, device),
            cached: None,
            segments: segments((0..batch).map(|slot| QuerySpan {
                slot,
                start: 0,
                length: time,
            })),
            branches: None,
            wanted: None,
            masks: Vec::new(),
            angles: Vec::new(),
        }
    }

    /// Whole sequences in one row, nothing remembered: each has positions of its own, and sees itself only. What several begin with
    /// is there once.
    pub fn packed(branches: &[PrefixNode], device: Device) -> ForwardPass<'static> {
        let branches = PrefixTree::new(branches, device);
        let positions = branches.positions();
        ForwardPass {
            batch: 1,
            time: positions.len() as i64,
            positions_bt: Tensor::from_slice(&positions).unsqueeze(0).to_device(device),
            cached: None,
            segments: Vec::new(),
            branches: Some(branches),
            wanted: None,
            masks: Vec::new(),
            angles: Vec::new(),
        }
    }

    /// The same, but block `last`, the last one, gives only what is at `position_w` of the row: of other tokens nobody looks at more than
    /// their keys and values there.
    pub fn wanted_at(mut self, last: usize, position_w: Tensor) -> ForwardPass<'c> {
        debug_assert!(self.branches.is_some(), "of a packed row");
        self.wanted = Some(Wanted { last, position_w });
        self
    }

    /// Of `x_btd` in block `layer` what its outcome is wanted of: everything, `[b, t, d]`, or `[b, w, d]`.
    pub fn wanted(&self, layer: usize, x_btd: &Tensor) -> Tensor {
        match &self.wanted {
            Some(Wanted { last, position_w }) if *last == layer => x_btd.index_select(1, position_w),
            _ => x_btd.shallow_clone(),
        }
    }

    /// The next `time` tokens of the sequences in slots `first..first + starts.len()`, which hold `starts` tokens.
    /// Room is made for them. Padding is written too, beyond the row's end, where the next tokens replace it.
    pub fn cached(
        cache: &'c mut KvCache,
        first: i64,
        starts: &[i64],
        time: i64,
        device: Device,
    ) -> ForwardPass<'c> {
        let stretches: Vec<QuerySpan> = starts
            .iter()
            .zip(first..)
            .map(|(&start, slot)| QuerySpan {
                slot,
                start,
                length: time,
            })
            .collect();
        ForwardPass::over(cache, &stretches, starts.len() as i64, time, device)
    }

    /// The next tokens of several sequences, each as long as it is, in one row without padding.
    pub fn ragged(cache: &'c mut KvCache, stretches: &[QuerySpan], device: Device) -> ForwardPass<'c> {
        let time = stretches.iter().map(|stretch| stretch.length).sum();
        ForwardPass::over(cache, stretches, 1, time, device)
    }

    fn over(
        cache: &'c mut KvCache,
        stretches: &[QuerySpan],
        batch: i64,
        time: i64,
        device: Device,
    ) -> ForwardPass<'c> {
        let slots = stretches.iter().map(|s| s.slot + 1).max().unwrap_or(0);
        cache.reserve(
            slots,
            stretches.iter().map(|s| s.start + s.length).max().unwrap_or(0),
        );
        let (mut positions, mut places) = (Vec::new(), Vec::new());
        for stretch in stretches {
            let new = stretch.start..stretch.start + stretch.length;
            places.extend(new.clone().map(|at| stretch.slot * cache.capacity() + at));
            positions.extend(new);
        }
        ForwardPass {
            batch,
            time,
            positions_bt: Tensor::from_slice(&positions)
                .view([batch, time])
                .to_device(device),
            cached: Some(Cached {
                cache,
                places_n: Tensor::from_slice(&places).to_device(device),
            }),
            segments: segments(stretches.iter().copied()),
            branches: None,
            wanted: None,
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

    /// Attention of layer `layer`: `softmax(scale · q kᵀ) v`, as `params` says. `q_bthd`, `k_btkd`, `v_btkd` to `[b, t, h·d]`, or what is
    /// [wanted](ForwardPass::wanted) of it. Remembers keys and values in the cache.
    ///
    /// libtorch's fused kernels keep scores and softmax in fp32 whatever the inputs' type.
    pub fn attend(
        &mut self,
        layer: usize,
        q_bthd: &Tensor,
        k_btkd: &Tensor,
        v_btkd: &Tensor,
        params: AttentionParams,
    ) -> Tensor {
        let size = q_bthd.size();
        let (batch, time, heads, dim) = (size[0], size[1], size[2], size[3]);
        debug_assert_eq!(
            (batch, time),
            (self.batch, self.time),
            "a pass is for tokens of one shape"
        );
        if let Some(branches) = &self.branches {
            let row = |x: &Tensor| x.squeeze_dim(0);
            let o_thd = branches.attend(&row(q_bthd), &row(k_btkd), &row(v_btkd), params);
            return self.wanted(layer, &o_thd.view([batch, time, heads * dim]));
        }
        if let Some(cached) = &mut self.cached {
            cached.cache.write(layer, &cached.places_n, k_btkd, v_btkd);
        }
        let (k_sckd, v_sckd) = match &self.cached {
            Some(cached) => cached.cache.layer(layer),
            None => (k_btkd.shallow_clone(), v_btkd.shallow_clone()),
        };
        if shim::attends(dim) && shim::usable(&[q_bthd, &k_sckd, &v_sckd]) {
            let q_nhd = q_bthd.view([-1, heads, dim]);
            let o_nhd = shim::attend(&q_nhd, &k_sckd, &v_sckd, &self.segments, params);
            return o_nhd.view([batch, time, heads * dim]);
        }
        if batch == 1 && self.segments.len() > 1 {
            return self.attend_each(q_bthd, &k_sckd, &v_sckd, params);
        }
        let visible = self.visible(params.window, q_bthd.kind());
        let visible = &self.masks[visible].1;
        // From the start of every row the new keys are all there is: no need to read them back.
        let (k_blkd, v_blkd) = if self.is_batch_of_starts() {
            (k_btkd.shallow_clone(), v_btkd.shallow_clone())
        } else {
            let first = self.segments[0].slot;
            let view = |x: &Tensor| {
                x.narrow(0, first, batch)
                    .narrow(1, visible.from, visible.to - visible.from)
            };
            (view(&k_sckd), view(&v_sckd))
        };
        let o_bthd = composed(q_bthd, &k_blkd, &v_blkd, visible.mask.as_ref(), params.scale);
        o_bthd.reshape([batch, time, heads * dim])
    }

    /// Whether this is a batch of rows that all begin here.
    fn is_batch_of_starts(&self) -> bool {
        let whole = |segment: &Segment| segment.start == 0 && segment.length == self.time;
        self.segments.len() as i64 == self.batch && self.segments.iter().all(whole)
    }

    /// Attention of stretches of different lengths, one after the other.
    fn attend_each(
        &self,
        q_1nhd: &Tensor,
        k_sckd: &Tensor,
        v_sckd: &Tensor,
        params: AttentionParams,
    ) -> Tensor {
        let outputs: Vec<Tensor> = self
            .segments
            .iter()
            .map(|segment| {
                let q_1thd = q_1nhd.narrow(1, segment.offset, segment.length);
                let positions_1t = self.positions_bt.narrow(1, segment.offset, segment.length);
                let visible = Visible::of(
                    &positions_1t,
                    segment.start,
                    segment.start,
                    params.window,
                    q_1nhd.kind(),
                );
                let view = |x: &Tensor| {
                    x.narrow(0, segment.slot, 1)
                        .narrow(1, visible.from, visible.to - visible.from)
                };
                composed(
                    &q_1thd,
                    &view(k_sckd),
                    &view(v_sckd),
                    visible.mask.as_ref(),
                    params.scale,
                )
            })
            .collect();
        Tensor::cat(&outputs, 1).flatten(2, 3)
    }

    /// Index in `self.masks` of what `window` lets the rows of a batch see, made at the first call.
    fn visible(&mut self, window: Option<i64>, kind: Kind) -> usize {
        if let Some(index) = self.masks.iter().position(|(known, _)| *known == window) {
            return index;
        }
        let starts = self.segments.iter().map(|segment| segment.start);
        let (least, most) = (starts.clone().min().unwrap_or(0), starts.max().unwrap_or(0));
        // Rows at one place see the same.
        let rows = if least == most { 1 } else { self.batch };
        let positions = self.positions_bt.narrow(0, 0, rows);
        let visible = Visible::of(&positions, least, most, window, kind);
        self.masks.push((window, visible));
        self.masks.len() - 1
    }
}

impl Visible {
    /// What new tokens at `positions_bt` see, in rows that hold between `least` and `most` tokens already.
    pub fn of(positions_bt: &Tensor, least: i64, most: i64, window: Option<i64>, kind: Kind) -> Visible {
        let (time, device) = (positions_bt.size()[1], positions_bt.device());
        let to = most + time;
        // Keys before every row's window need not be read at all.
        let from = window.map_or(0, |window| (least + 1 - window).max(0));
        let crossed = window.is_some_and(|window| to > window);
        let causal_is_all = most == 0 && !crossed;
        let all_is_visible = time == 1 && least == most && to - from <= window.unwrap_or(i64::MAX);
        let mask = if causal_is_all || all_is_visible {
            None
        } else {
            let keys_l = Tensor::arange_start(from, to, (Kind::Int64, device));
            let queries_bt1 = positions_bt.unsqueeze(-1);
            let mut hidden_btl = keys_l.gt_tensor(&queries_bt1);
            if let Some(window) = window {
                hidden_btl = hidden_btl.logical_or(&keys_l.le_tensor(&(queries_bt1 - window)));
            }
            let zero = Tensor::zeros(hidden_btl.size(), (kind, device));
            Some(zero.masked_fill(&hidden_btl, f64::NEG_INFINITY).unsqueeze(1))
        };
        Visible { from, to, mask }
    }
}

/// Stretches laid out one behind the other.
fn segments(stretches: impl Iterator<Item = QuerySpan>) -> Vec<Segment> {
    let mut offset = 0;
    stretches
        .map(|stretch| {
            let segment = Segment {
                offset,
                length: stretch.length,
                slot: stretch.slot,
                start: stretch.start,
            };
            offset += stretch.length;
            segment
        })
        .collect()
}

/// Attention by libtorch's operations: `q_bthd`, `k_blkd`, `v_blkd` to `o_bthd`; without a mask, causality is the rule.
pub(super) fn composed(
    q_bthd: &Tensor,
    k_blkd: &Tensor,
    v_blkd: &Tensor,
    mask: Option<&Tensor>,
    scale: f64,
) -> Tensor {
    let size = q_bthd.size();
    let (batch, time, heads, dim) = (size[0], size[1], size[2], size[3]);
    let groups = heads / k_blkd.size()[2];
    let (k_bkld, v_bkld) = (k_blkd.transpose(1, 2), v_blkd.transpose(1, 2));
    if time == 1 {
        // One query a head: the g heads that share keys become g queries of one head, and nothing is copied.
        let q_bkgd = q_bthd.reshape([batch, heads / groups, groups, dim]);
        let o_bkgd = fused(&q_bkgd, &k_bkld, &v_bkld, mask, false, scale);
        return o_bkgd.reshape([batch, 1, heads, dim]);
    }
    let (k_bhld, v_bhld) = (repeat_heads(&k_bkld, groups), repeat_heads(&v_bkld, groups));
    let causal = mask.is_none();
    fused(&q_bthd.transpose(1, 2), &k_bhld, &v_bhld, mask, causal, scale).transpose(1, 2)
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
