//! A micro-batch as tensors.
//!
//! Shapes: `t` tokens of a micro-batch, `w` of them before a target, `n` targets, `d` hidden.

use crate::model::layers::attention::ForwardPass;
use crate::train::data::micro_batch::MicroBatch;
use tch::{Device, Kind, Tensor};

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
}

impl Inputs {
    /// Makes the tensors of a micro-batch; with `keyed`, the keys of its rows as well.
    pub fn of(micro_batch: &MicroBatch, device: Device, keyed: bool) -> Inputs {
        let tensor = |values: &[i64]| crate::shim::transfer::numbers_on(values, Kind::Int64, device);
        let (position_w, place_n) = micro_batch.wanted();
        let keys = keyed.then(|| {
            let key_t = micro_batch.keys();
            let key_w: Vec<i64> = position_w.iter().map(|&at| key_t[at as usize]).collect();
            vec![tensor(&key_t), tensor(&key_w)]
        });
        let keys = keys.unwrap_or_default();
        Inputs {
            token_1t: tensor(&micro_batch.id_t).unsqueeze(0),
            position_w: tensor(&position_w),
            place_n: place_n.map(|place_n| tensor(&place_n)),
            target_n: tensor(&micro_batch.target_n),
            keys,
        }
    }

    /// Returns the keys of rows: of all tokens, and of those before a target; none without.
    pub fn row_keys(&self) -> &[Tensor] {
        &self.keys
    }

    /// Returns a forward pass through `layers` blocks.
    pub fn pass(&self, micro_batch: &MicroBatch, layers: usize) -> ForwardPass<'static> {
        let pass = ForwardPass::packed(&micro_batch.nodes, self.token_1t.device());
        if self.position_w.size()[0] == self.token_1t.size()[1] {
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
