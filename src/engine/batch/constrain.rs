//! Scores as requests want them, before tokens are chosen: with a bias, and -inf where a grammar
//! rules a token out. Rows without either are not touched.
//!
//! Shapes: `b` running requests, `v` vocabulary.

use tch::{Kind, Tensor};

use super::Engine;
use crate::shim::transfer::numbers_on;

impl Engine {
    /// Changes the scores `logits_bv` of running requests in place.
    pub(super) fn constrain(&mut self, logits_bv: &Tensor) {
        let vocab = logits_bv.size()[1];
        for (row, running) in self.running.iter_mut().enumerate() {
            let options = &running.request.options;
            if !options.bias.is_empty() {
                add(&logits_bv.get(row as i64), &options.bias, vocab);
            }
            // Without a mask, the request fails once its token is delivered.
            if let Some(mask) = running.constraint.as_mut().and_then(|it| it.mask()) {
                mask.apply(&logits_bv.get(row as i64));
            }
        }
    }
}

/// Adds a bias to the scores of one row.
fn add(logits_v: &Tensor, bias: &[(i64, f32)], vocab: i64) {
    let known = bias.iter().filter(|(id, _)| (0..vocab).contains(id));
    let (ids, values): (Vec<i64>, Vec<f32>) = known.copied().unzip();
    let device = logits_v.device();
    let ids_n = numbers_on(&ids, Kind::Int64, device);
    let values_n = numbers_on(&values, Kind::Float, device).to_kind(logits_v.kind());
    let _ = logits_v.shallow_clone().index_add_(0, &ids_n, &values_n);
}
