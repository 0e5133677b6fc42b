//! One forward pass of tokens through a model: their positions, masks and rotary angles, and
//! attention.
//!
//! Shapes: `b` rows, `t` new tokens a row, `h` query heads, `k` key/value heads, `g = h/k` query
//! heads a key/value head, `d` features of a head, `l` visible tokens; `q_bthd`.

use std::sync::Once;

use tch::{Device, Kind, Tensor};

use super::prefix_tree::{PrefixNode, PrefixTree};
use super::query_span::{in_slots, segments};
use super::rope::{Angles, Rope, positions_from_zero};
use super::sdpa::{self, AttentionMask};
use crate::model::cache::KvCache;
use crate::model::fault;
use crate::shim::gpu::{RotatedWrite, rope_cache};
use crate::shim::paged::{PagedLengths, attend_pages};
use crate::shim::transfer::{Upload, Uploaded, numbers_on};
use crate::shim::{self, Segment};

pub use super::query_span::QuerySpan;
pub use crate::shim::{AttentionParams, Rounding};

/// What one forward call needs besides the tokens. Masks and rotary angles are made once and shared
/// by all layers.
///
/// The tokens are spans of sequences, one after the other: rows of a batch of one length; or, in a
/// pass of one row, spans of any length, or whole sequences with the prefixes they share. Rows are
/// padded on the right: attention is causal, so only padding sees padding.
#[derive(Debug)]
pub struct ForwardPass<'c> {
    batch: i64,
    time: i64,
    positions_bt: Tensor,
    cached: Option<Cached<'c>>,
    segments: Vec<Segment>,
    branches: Option<PrefixTree>,
    selection: Option<Selection>,
    masks: Vec<(Option<i64>, AttentionMask)>,
    angles: Vec<(Rope, Angles)>,
}

/// Positions of a row whose hidden states are needed after the last block.
#[derive(Debug)]
struct Selection {
    last: usize,
    position_w: Tensor,
}

/// The cache and the places of new keys and values in it.
#[derive(Debug)]
struct Cached<'c> {
    cache: &'c mut KvCache,
    /// Place of every token in all slots one behind the other: `slot · capacity + position`, or by
    /// the slot's pages.
    places_n: Tensor,
    /// What attention over pages is given, where the cache is read by pages.
    lengths: Option<PagedLengths>,
}

impl<'c> ForwardPass<'c> {
    /// Makes a pass of whole sequences, without a cache: for training and scoring.
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
            selection: None,
            masks: Vec::new(),
            angles: Vec::new(),
        }
    }

    /// Makes a pass of whole sequences in one row, without a cache. Each sequence has its own
    /// positions and sees only itself. A prefix that several share is computed once.
    pub fn packed(branches: &[PrefixNode], device: Device) -> ForwardPass<'static> {
        let branches = PrefixTree::new(branches, device);
        let positions = branches.positions();
        ForwardPass {
            batch: 1,
            time: positions.len() as i64,
            positions_bt: numbers_on(&positions, Kind::Int64, device).unsqueeze(0),
            cached: None,
            segments: Vec::new(),
            branches: Some(branches),
            selection: None,
            masks: Vec::new(),
            angles: Vec::new(),
        }
    }

    /// Restricts the output of block `last`, the last block, to the positions `position_w` of the
    /// row. Of all other tokens that block computes only keys and values.
    pub fn select_at(mut self, last: usize, position_w: Tensor) -> ForwardPass<'c> {
        debug_assert!(self.branches.is_some(), "of a packed row");
        self.selection = Some(Selection { last, position_w });
        self
    }

    /// Selects from `x_btd` in block `layer` the positions whose output is needed: all,
    /// `[b, t, d]`, or those of [`select_at`](ForwardPass::select_at), `[b, w, d]`.
    pub fn select(&self, layer: usize, x_btd: &Tensor) -> Tensor {
        match &self.selection {
            Some(Selection { last, position_w }) if *last == layer => x_btd.index_select(1, position_w),
            _ => x_btd.shallow_clone(),
        }
    }

    /// Makes a pass of the next `time` tokens of the sequences in slots
    /// `first..first + starts.len()`, which hold `starts` tokens. The cache grows to hold them.
    /// Padding is written too, beyond the end of the row, where the next tokens replace it.
    #[cfg(test)]
    pub fn cached(
        cache: &'c mut KvCache,
        first: i64,
        starts: &[i64],
        time: i64,
        device: Device,
    ) -> ForwardPass<'c> {
        let spans: Vec<QuerySpan> = starts
            .iter()
            .zip(first..)
            .map(|(&start, slot)| QuerySpan {
                slot,
                start,
                length: time,
            })
            .collect();
        ForwardPass::over(
            cache,
            &spans,
            [starts.len() as i64, time],
            Upload::default(),
            device,
        )
        .0
    }

    /// Makes a pass of the next token of the first sequences, which hold `starts` tokens. The cache
    /// grows to hold them. Sends `upload` to the device with what the pass needs, and returns it.
    pub fn decode(
        cache: &'c mut KvCache,
        starts: &[i64],
        upload: Upload,
        device: Device,
    ) -> (ForwardPass<'c>, Uploaded) {
        let span = |(&start, slot): (&i64, i64)| QuerySpan {
            slot,
            start,
            length: 1,
        };
        let spans: Vec<QuerySpan> = starts.iter().zip(0..).map(span).collect();
        ForwardPass::over(cache, &spans, [starts.len() as i64, 1], upload, device)
    }

    /// As [`ForwardPass::prefill`], without an upload.
    #[cfg(test)]
    pub fn ragged(cache: &'c mut KvCache, spans: &[QuerySpan], device: Device) -> ForwardPass<'c> {
        ForwardPass::prefill(cache, spans, Upload::default(), device).0
    }

    /// Makes a pass of the next tokens of several sequences of any length, in one row without
    /// padding. Sends `upload` to the device with what the pass needs, and returns it.
    pub fn prefill(
        cache: &'c mut KvCache,
        spans: &[QuerySpan],
        upload: Upload,
        device: Device,
    ) -> (ForwardPass<'c>, Uploaded) {
        let time = spans.iter().map(|span| span.length).sum();
        ForwardPass::over(cache, spans, [1, time], upload, device)
    }

    fn over(
        cache: &'c mut KvCache,
        spans: &[QuerySpan],
        [batch, time]: [i64; 2],
        mut upload: Upload,
        device: Device,
    ) -> (ForwardPass<'c>, Uploaded) {
        let tokens = spans.iter().map(|s| (s.slot, s.start, s.length));
        cache.hold(tokens.clone());
        let paged = cache.pass_places(tokens);
        let sent = |upload: &Upload| upload.send(device).unwrap_or_else(|error| fault::raise(&error));
        let (positions_n, places_n, lengths, uploaded) = match paged {
            Some(places) => {
                let parts = places.add_to(&mut upload);
                let uploaded = sent(&upload);
                let on = parts.of(&uploaded);
                (on.positions_n, on.places_n, Some(on.lengths), uploaded)
            }
            None => {
                let (positions, places) = in_slots(spans, cache.capacity());
                let parts = [positions, places].map(|numbers| upload.add(&numbers));
                let uploaded = sent(&upload);
                let [positions_n, places_n] = parts.map(|part| uploaded.view(part, Kind::Int64));
                (positions_n, places_n, None, uploaded)
            }
        };
        let pass = ForwardPass {
            batch,
            time,
            positions_bt: positions_n.view([batch, time]),
            cached: Some(Cached {
                cache,
                places_n,
                lengths,
            }),
            segments: segments(spans.iter().copied()),
            branches: None,
            selection: None,
            masks: Vec::new(),
            angles: Vec::new(),
        };
        (pass, uploaded)
    }

    /// Rotates queries and keys by their positions, stores keys and values in the cache, and
    /// computes attention of layer `layer`, `softmax(scale · q kᵀ) v`. Takes `q_bthd`, `k_btkd`,
    /// `v_btkd`; returns `[b, t, h·d]`, or the [selected](ForwardPass::select) positions of it.
    pub fn rotate_and_attend(
        &mut self,
        layer: usize,
        rope: &Rope,
        q_bthd: &Tensor,
        k_btkd: &Tensor,
        v_btkd: &Tensor,
        params: AttentionParams,
    ) -> Tensor {
        if self.is_paged() {
            return self.attend_pages(layer, rope, q_bthd, k_btkd, v_btkd, params);
        }
        let (q_bthd, k_btkd) = (self.rotate(rope, q_bthd), self.rotate(rope, k_btkd));
        self.attend(layer, &q_bthd, &k_btkd, v_btkd, params)
    }

    /// Prepares for a second run over the same memory, as a CUDA graph would: masks and angles are
    /// computed again from what is there by then.
    #[cfg(test)]
    pub fn run_again(&mut self) {
        self.masks.clear();
        self.angles.clear();
    }

    /// Returns the position of each token within its sequence, int64 `[b, t]`.
    pub fn positions(&self) -> &Tensor {
        &self.positions_bt
    }

    /// Returns whether the cache is read by pages.
    fn is_paged(&self) -> bool {
        self.cached
            .as_ref()
            .is_some_and(|cached| cached.lengths.is_some())
    }

    /// As [`ForwardPass::rotate_and_attend`] over a cache of pages: two launches, whatever the
    /// lengths of the sequences.
    fn attend_pages(
        &mut self,
        layer: usize,
        rope: &Rope,
        q_bthd: &Tensor,
        k_btkd: &Tensor,
        v_btkd: &Tensor,
        params: AttentionParams,
    ) -> Tensor {
        let q_nhd = match self.rotate_and_write(layer, rope, q_bthd, k_btkd, v_btkd) {
            Some(q_nhd) => q_nhd,
            None => {
                let (q_bthd, k_btkd) = (self.rotate(rope, q_bthd), self.rotate(rope, k_btkd));
                let Cached { cache, places_n, .. } = self.cached.as_mut().expect("a cache");
                cache.write(layer, places_n, &k_btkd, v_btkd);
                q_bthd.flatten(0, 1).contiguous()
            }
        };
        let Cached { cache, lengths, .. } = self.cached.as_ref().expect("a cache");
        let lengths = lengths.as_ref().expect("a cache of pages");
        let (k_ppkd, v_ppkd) = cache.pages(layer);
        attend_pages(&q_nhd, k_ppkd, v_ppkd, lengths, params)
            .unwrap_or_else(|error| fault::raise(&error))
            .view([self.batch, self.time, -1])
    }

    /// Rotates queries and keys and writes keys and values into the cache in one launch. Returns
    /// the queries `[n, h, d]`; none where there is no such kernel: in fp16, in fp32 of a model in
    /// bf16, or without NVRTC. Nothing is written then.
    fn rotate_and_write(
        &mut self,
        layer: usize,
        rope: &Rope,
        q_bthd: &Tensor,
        k_btkd: &Tensor,
        v_btkd: &Tensor,
    ) -> Option<Tensor> {
        let kind = q_bthd.kind();
        if kind == Kind::Half || rope.in_fp32 && kind != Kind::Float || rope.dims == 0 {
            return None;
        }
        let angles = self.angle_index(rope, kind);
        let (cos_nr, sin_nr) = self.angles[angles].1.rows();
        let cached = self.cached.as_ref().expect("a cache");
        let (k_ppkd, v_ppkd) = cached.cache.pages(layer);
        let made = rope_cache(&RotatedWrite {
            pairing: rope.pairing,
            q_nhd: &q_bthd.flatten(0, 1),
            k_nkd: &k_btkd.flatten(0, 1),
            v_nkd: &v_btkd.flatten(0, 1),
            cos_nr,
            sin_nr,
            place_n: &cached.places_n,
            k_ppkd,
            v_ppkd,
        });
        match made {
            Ok(q_nhd) => Some(q_nhd),
            Err(error) => {
                static TOLD: Once = Once::new();
                TOLD.call_once(|| tracing::warn!("rotary embedding goes without its kernel: {error:#}"));
                None
            }
        }
    }

    /// Rotates queries or keys `x_bthd` by their positions.
    fn rotate(&mut self, rope: &Rope, x_bthd: &Tensor) -> Tensor {
        let kind = x_bthd.kind();
        if rope.dims == 0 {
            // The kernels take contiguous tensors, which a rotation would have made.
            let takes = shim::holds();
            return if takes {
                x_bthd.contiguous()
            } else {
                x_bthd.shallow_clone()
            };
        }
        if rope.in_fp32 && kind != Kind::Float {
            return self.rotate(rope, &x_bthd.to_kind(Kind::Float)).to_kind(kind);
        }
        let index = self.angle_index(rope, kind);
        rope.apply(x_bthd, &self.angles[index].1)
    }

    /// Returns the index in `self.angles` of the angles of `rope`, which the first call makes.
    fn angle_index(&mut self, rope: &Rope, kind: Kind) -> usize {
        let known = self.angles.iter().position(|(known, _)| known == rope);
        known.unwrap_or_else(|| {
            self.angles
                .push((rope.clone(), rope.angles(&self.positions_bt, kind)));
            self.angles.len() - 1
        })
    }

    /// Computes attention of rotated queries and keys, and stores keys and values in the cache.
    ///
    /// libtorch's fused kernels keep scores and softmax in fp32 whatever the inputs' type.
    fn attend(
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
            return self.select(layer, &o_thd.view([batch, time, heads * dim]));
        }
        if let Some(cached) = &mut self.cached {
            cached.cache.write(layer, &cached.places_n, k_btkd, v_btkd);
        }
        let (k_sckd, v_sckd) = match &self.cached {
            Some(cached) => cached.cache.layer(layer),
            None => (k_btkd.shallow_clone(), v_btkd.shallow_clone()),
        };
        if params.cap.is_none() && shim::attends(dim) && shim::usable(&[q_bthd, &k_sckd, &v_sckd]) {
            let q_nhd = q_bthd.view([-1, heads, dim]);
            let o_nhd = shim::attend(&q_nhd, &k_sckd, &v_sckd, &self.segments, params);
            return o_nhd.view([batch, time, heads * dim]);
        }
        if batch == 1 && self.segments.len() > 1 {
            return self.attend_each(q_bthd, &k_sckd, &v_sckd, params);
        }
        let visible = self.visible(params.window, q_bthd.kind());
        let visible = &self.masks[visible].1;
        // Where every row begins in this pass, the new keys are all there are: no need to read them
        // back.
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
        let o_bthd = sdpa::attend(q_bthd, &k_blkd, &v_blkd, visible.mask.as_ref(), params);
        o_bthd.reshape([batch, time, heads * dim])
    }

    /// Returns whether this is a batch of rows that all begin in this pass.
    fn is_batch_of_starts(&self) -> bool {
        let whole = |segment: &Segment| segment.start == 0 && segment.length == self.time;
        self.segments.len() as i64 == self.batch && self.segments.iter().all(whole)
    }

    /// Computes attention of spans of different lengths, one after the other.
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
                let visible = AttentionMask::of(
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
                sdpa::attend(
                    &q_1thd,
                    &view(k_sckd),
                    &view(v_sckd),
                    visible.mask.as_ref(),
                    params,
                )
            })
            .collect();
        Tensor::cat(&outputs, 1).flatten(2, 3)
    }

    /// Returns the index in `self.masks` of the mask for `window`, which the first call makes.
    fn visible(&mut self, window: Option<i64>, kind: Kind) -> usize {
        if let Some(index) = self.masks.iter().position(|(known, _)| *known == window) {
            return index;
        }
        let starts = self.segments.iter().map(|segment| segment.start);
        let (least, most) = (starts.clone().min().unwrap_or(0), starts.max().unwrap_or(0));
        // Rows at the same position share a mask.
        let rows = if least == most { 1 } else { self.batch };
        let positions = self.positions_bt.narrow(0, 0, rows);
        let visible = AttentionMask::of(&positions, least, most, window, kind);
        self.masks.push((window, visible));
        self.masks.len() - 1
    }
}
