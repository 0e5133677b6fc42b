//! Negative log-likelihoods of parts of rows, many rows in one forward pass.
//!
//! Shapes: `b` rows, `t` tokens of the longest row, `d` hidden features, `v` vocabulary, `n` scored
//! tokens.

use std::ops::Range;

use serde::Serialize;
use tch::{Kind, Tensor};

use crate::model::LoadedModel;
use crate::model::layers::attention::ForwardPass;

/// The most tokens of one forward pass, padding included.
const BATCH_TOKENS: usize = 4096;
/// The most tokens whose logits are held at once: 256 MiB of fp32 with a vocabulary of 262,144.
const HEAD_TOKENS: i64 = 256;

/// A row of `--out`.
#[derive(Debug, Serialize)]
pub struct ScoreRow {
    /// Number of the row in the input, from 0.
    pub row: usize,
    /// Tokens of the completion.
    pub tokens: usize,
    /// Their negative log-likelihood, summed, in nats.
    pub nll: f64,
}

/// A row in token ids.
#[derive(Debug)]
pub struct EncodedRow {
    /// Number of the row in the input.
    pub row: usize,
    /// Its tokens.
    pub ids: Vec<i64>,
    /// Ranges of `ids` that are scored, in order; never 0, since no token precedes it.
    pub scored: Vec<Range<usize>>,
}

impl EncodedRow {
    /// Returns the indices of scored tokens.
    pub fn positions(&self) -> impl Iterator<Item = usize> {
        self.scored.iter().cloned().flatten()
    }

    /// Returns the number of scored tokens.
    pub fn count(&self) -> usize {
        self.scored.iter().map(Range::len).sum()
    }
}

/// Sorts rows by length, so that those of similar length share a forward pass and little of it is
/// padding. Returns the rows of each pass, the longest first.
pub fn batches(rows: &mut [EncodedRow]) -> impl Iterator<Item = &[EncodedRow]> {
    rows.sort_by_key(|row| std::cmp::Reverse(row.ids.len()));
    let mut rest: &[EncodedRow] = rows;
    std::iter::from_fn(move || {
        let longest = rest.first()?;
        let count = (BATCH_TOKENS / longest.ids.len().max(1)).clamp(1, rest.len());
        let (batch, more) = rest.split_at(count);
        rest = more;
        Some(batch)
    })
}

/// Scores the rows of one forward pass.
pub fn score_batch(loaded: &LoadedModel, batch: &[EncodedRow]) -> Vec<ScoreRow> {
    let _guard = tch::no_grad_guard();
    let longest = batch.iter().map(|row| row.ids.len()).max().unwrap_or(0);
    let targets: usize = batch.iter().map(EncodedRow::count).sum();
    let mut nll = Vec::with_capacity(targets);
    if targets > 0 {
        let mut padded = vec![0; batch.len() * longest];
        let (mut places, mut wanted) = (Vec::with_capacity(targets), Vec::with_capacity(targets));
        for (number, row) in batch.iter().enumerate() {
            padded[number * longest..][..row.ids.len()].copy_from_slice(&row.ids);
            // The token at i is predicted by the hidden features at i - 1.
            places.extend(row.positions().map(|i| (number * longest + i - 1) as i64));
            wanted.extend(row.positions().map(|i| row.ids[i]));
        }
        let (rows, time) = (batch.len() as i64, longest as i64);
        let tokens_bt = Tensor::from_slice(&padded)
            .view([rows, time])
            .to_device(loaded.device);
        let hidden_btd = loaded
            .model
            .forward(&tokens_bt, &mut ForwardPass::whole(rows, time, loaded.device));
        let on_device = |ids: &[i64]| Tensor::from_slice(ids).to_device(loaded.device);
        let hidden_nd = hidden_btd.flatten(0, 1).index_select(0, &on_device(&places));
        for (hidden_nd, wanted_n) in hidden_nd
            .split(HEAD_TOKENS, 0)
            .iter()
            .zip(on_device(&wanted).split(HEAD_TOKENS, 0))
        {
            let logits_nv = loaded.model.logits(hidden_nd).to_kind(Kind::Float);
            let wanted_n = logits_nv.gather(1, &wanted_n.unsqueeze(1), false).squeeze_dim(1);
            let nll_n = logits_nv.logsumexp([-1].as_slice(), false) - wanted_n;
            nll.extend(Vec::<f32>::try_from(nll_n.to_device(tch::Device::Cpu)).expect("fp32 losses"));
        }
    }
    let mut nll = nll.into_iter().map(f64::from);
    batch
        .iter()
        .map(|row| {
            let tokens = row.count();
            ScoreRow {
                row: row.row,
                tokens,
                nll: nll.by_ref().take(tokens).sum(),
            }
        })
        .collect()
}
