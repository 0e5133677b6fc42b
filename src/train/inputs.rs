//! A micro-batch as tensors.
//!
//! Shapes: `t` tokens of a micro-batch, `w` of them before a target, `n` targets, `d` hidden. Where
//! sizes are [rounded](Rounding), `t` and `w` count tokens that nothing is computed from.

use crate::model::layers::attention::ForwardPass;
use crate::model::layers::prefix_tree::PrefixNode;
use crate::train::data::micro_batch::MicroBatch;
use std::borrow::Cow;
use tch::{Device, Kind, Tensor};

/// Sizes that micro-batches are filled up to.
///
/// oneDNN, which computes products in bf16 and fp16 on the CPU, compiles a kernel for each shape:
/// an eighth of the time of a step if nearly every step has new ones. Rounded, a run has a few
/// dozen, which its cache holds (`model/device.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rounding {
    /// What tokens, and tokens before a target, are multiples of.
    pub multiple: usize,
    /// Tokens from which a micro-batch is rounded: in a smaller one, what is added would cost more
    /// than kernels.
    pub from: usize,
}

impl Rounding {
    /// Returns the rounding of products in `kind` on `device`, if shapes matter there.
    pub fn of(kind: Kind, device: Device) -> Option<Rounding> {
        let compiles = !device.is_cuda() && matches!(kind, Kind::BFloat16 | Kind::Half);
        compiles.then_some(Rounding {
            multiple: 64,
            from: 256,
        })
    }

    /// Returns how much a size is short.
    fn missing(self, size: usize) -> usize {
        size.next_multiple_of(self.multiple) - size
    }
}

/// A micro-batch as tensors. The last block's output is needed only at positions before a target.
pub struct Inputs {
    /// Tokens, `[1, t]`.
    pub token_1t: Tensor,
    /// Positions before a target, each once, `[w]`.
    pub position_w: Tensor,
    /// Index of each target's position in `position_w`; none if positions and targets go one by
    /// one.
    pub place_n: Option<Tensor>,
    /// The targets, `[n]`.
    pub target_n: Tensor,
    /// Keys of all tokens, and of those at `position_w`.
    keys: Vec<Tensor>,
    /// Tokens behind those of the micro-batch, which only see themselves.
    added: usize,
    /// Whether the output is needed of all tokens, in their order.
    is_whole: bool,
}

impl Inputs {
    /// Makes the tensors of a micro-batch; with `keyed`, the keys of its rows as well.
    pub fn of(micro_batch: &MicroBatch, device: Device, keyed: bool, rounding: Option<Rounding>) -> Inputs {
        let tensor = |values: &[i64]| crate::shim::transfer::numbers_on(values, Kind::Int64, device);
        let (mut position_w, mut place_n) = micro_batch.wanted();
        let mut id_t = Cow::Borrowed(&micro_batch.id_t);
        let rounding = rounding.filter(|rounding| id_t.len() >= rounding.from);
        let is_whole = rounding.is_none() && position_w.len() == id_t.len();
        let mut added = 0;
        if let Some(rounding) = rounding {
            added = rounding.missing(id_t.len());
            id_t.to_mut()
                .extend(std::iter::repeat_n(micro_batch.id_t[0], added));
            place_n.get_or_insert_with(|| (0..position_w.len() as i64).collect());
            let again = position_w[position_w.len() - 1];
            position_w.extend(std::iter::repeat_n(again, rounding.missing(position_w.len())));
        }
        let keys = keyed.then(|| {
            let mut key_t = micro_batch.keys();
            key_t.extend(std::iter::repeat_n(0, added));
            let key_w: Vec<i64> = position_w.iter().map(|&at| key_t[at as usize]).collect();
            vec![tensor(&key_t), tensor(&key_w)]
        });
        let keys = keys.unwrap_or_default();
        Inputs {
            token_1t: tensor(&id_t).unsqueeze(0),
            position_w: tensor(&position_w),
            place_n: place_n.map(|place_n| tensor(&place_n)),
            target_n: tensor(&micro_batch.target_n),
            keys,
            added,
            is_whole,
        }
    }

    /// Returns the keys of rows: of all tokens, and of those before a target; none without.
    pub fn row_keys(&self) -> &[Tensor] {
        &self.keys
    }

    /// Returns a forward pass through `layers` blocks.
    pub fn pass(&self, micro_batch: &MicroBatch, layers: usize) -> ForwardPass<'static> {
        let mut nodes = Cow::Borrowed(&micro_batch.nodes);
        if self.added > 0 {
            nodes.to_mut().push(PrefixNode {
                length: self.added as i64,
                after: None,
            });
        }
        let pass = ForwardPass::packed(&nodes, self.token_1t.device());
        if self.is_whole {
            return pass;
        }
        pass.select_at(layers - 1, self.position_w.shallow_clone())
    }

    /// Selects the position before each target: `[1, w, d]` to `[n, d]`.
    pub fn at_targets(&self, hidden_1wd: &Tensor) -> Tensor {
        let hidden_wd = hidden_1wd.flatten(0, 1);
        match &self.place_n {
            Some(place_n) => hidden_wd.index_select(0, place_n),
            None => hidden_wd,
        }
    }
}
