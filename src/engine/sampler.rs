//! From logits to the next token. A vocabulary of 262,144 is never sorted. Its scores are split
//! into groups; the maxima of the groups show which few groups can hold the likeliest tokens, and
//! only those are searched. If that is not enough to reach `top_p`, more groups are searched, in
//! the end all of them, so the result is always exact.
//!
//! Scores that penalties change are taken out of their groups and kept beside them, so all others
//! are read where the model wrote them, in its own type.
//!
//! [`groups`] has the groups; [`penalty`] has the tokens that penalties apply to, and their scores.
//! [`device`] does the same in kernels of ours where the logits are, for GPUs, and lets the next
//! step begin before the host has read the tokens.
//!
//! Shapes: `b` rows, `v` vocabulary.

mod device;
mod groups;
mod penalty;
mod seen_table;

use ewe::backend::Sampling;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tch::{Kind, Tensor};

pub use device::{DeviceSampler, PreparedRows, SampledRows, SampledStep};
use groups::{Groups, TokenCandidates};
use penalty::penalise;
pub use penalty::{SeenTokens, penalises};

/// How many groups are searched first. They always contain the 64 likeliest tokens.
const FIRST_GROUPS: usize = 64;

/// Temperatures below this take the likeliest token: dividing scores by less overflows. vLLM's
/// bound.
const COLDEST: f64 = 1e-5;

/// A row of a batch that needs its next token.
#[derive(Clone, Copy)]
pub struct SamplerRow<'a> {
    /// How the token is chosen.
    pub sampling: &'a Sampling,
    /// The tokens that penalties apply to.
    pub seen: &'a SeenTokens,
    /// Tokens generated before this one. With the seed, it determines the random number.
    pub index: usize,
    /// Tokens that must not come.
    pub forbidden: &'a [i64],
}

impl SamplerRow<'_> {
    /// Whether the token is drawn at random.
    fn is_drawn(&self) -> bool {
        self.sampling.temperature >= COLDEST
    }

    /// Returns the factor of a row's scores; it means nothing if the row is not drawn.
    fn sharpness(&self) -> f32 {
        if self.is_drawn() {
            1.0 / self.sampling.temperature as f32
        } else {
            1.0
        }
    }
}

/// Whether a draw is from all tokens.
fn is_unfiltered(s: &Sampling) -> bool {
    s.top_p >= 1.0 && s.top_k == 0 && s.min_p <= 0.0
}

/// Chooses the next token of every row from `logits_bv`, of any float type; none if the scores are
/// not numbers. Overwrites the scores of penalized tokens.
pub fn choose(logits_bv: &Tensor, rows: &[SamplerRow]) -> Vec<Option<i64>> {
    let _guard = tch::no_grad_guard();
    let logits_bv = logits_bv.contiguous();
    let beside = penalise(&logits_bv, rows);
    let drawn = rows.iter().any(SamplerRow::is_drawn);
    let sharpness: Vec<f32> = rows.iter().filter(|_| drawn).map(SamplerRow::sharpness).collect();
    let scores = Groups::new(&logits_bv, &sharpness, beside);
    let first = drawn.then(|| scores.likeliest(FIRST_GROUPS));
    let best = if rows.iter().all(SamplerRow::is_drawn) {
        Vec::new()
    } else {
        scores.argmax()
    };
    let pick = |(i, row): (usize, &SamplerRow)| {
        if scores.broken(i) {
            return None;
        }
        Some(match &first {
            Some(first) if row.is_drawn() => draw(&scores, i, row, &first[i]),
            _ => best[i],
        })
    };
    rows.iter().enumerate().map(pick).collect()
}

/// Draws a token for row `i`.
fn draw(scores: &Groups, i: usize, row: &SamplerRow, first: &TokenCandidates) -> i64 {
    let s = row.sampling;
    let u = uniform(s.seed, row.index);
    if is_unfiltered(s) {
        return scores.invert(i, u);
    }
    // With top-k, the mass is that of the k candidates.
    let log_mass = if s.top_k > 0 { f64::NAN } else { scores.log_mass(i) };
    let mut looked_at = FIRST_GROUPS;
    let mut kept = keep(first, s, log_mass);
    while kept.is_none() {
        looked_at *= 8;
        kept = keep(&scores.of_row(i, looked_at), s, log_mass);
    }
    pick(&kept.expect("all groups suffice"), u)
}

/// Returns the candidates that top-k, then top-p of the rest, then min-p keep, with weights
/// relative to the best; none if these candidates are too few to tell. `log_mass` is that of the
/// whole vocabulary.
fn keep(candidates: &TokenCandidates, s: &Sampling, log_mass: f64) -> Option<Vec<(f64, i64)>> {
    let all = &candidates.best_first;
    let Some(&(best, _)) = all.first() else {
        // No score is above the bound of the groups that were not searched.
        return candidates.complete.then(|| vec![(1.0, 0)]);
    };
    let best = f64::from(best);
    let weight = |score: f32| (f64::from(score) - best).exp();
    let limit = if s.top_k > 0 { s.top_k } else { usize::MAX };
    if s.top_k > 0 && all.len() < limit && !candidates.complete {
        return None;
    }
    let all = &all[..all.len().min(limit)];
    let mass = if s.top_k > 0 {
        all.iter().map(|&(score, _)| weight(score)).sum()
    } else {
        (log_mass - best).exp()
    };
    let (mut kept, mut sum) = (Vec::new(), 0.0);
    for &(score, id) in all {
        let weight = weight(score);
        if weight < s.min_p {
            return Some(kept);
        }
        kept.push((weight, id));
        sum += weight;
        if s.top_p < 1.0 && sum >= s.top_p * mass {
            return Some(kept);
        }
    }
    // Tokens that were not searched weigh less than all that were.
    (candidates.complete || s.top_k > 0).then_some(kept)
}

/// Returns the candidate at which the cumulated weight passes `u` of the sum.
fn pick(kept: &[(f64, i64)], u: f64) -> i64 {
    let mut left = u * kept.iter().map(|(weight, _)| weight).sum::<f64>();
    for &(weight, id) in kept {
        left -= weight;
        if left < 0.0 {
            return id;
        }
    }
    kept.last().expect("the likeliest token is always kept").1
}

/// Returns a number in `[0, 1)` that is a function of its arguments.
pub(super) fn uniform(seed: u64, index: usize) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(index as u64);
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Copies a tensor to the host, as fp32.
fn floats(x: &Tensor) -> Vec<f32> {
    Vec::try_from(
        x.to_device(tch::Device::Cpu)
            .to_kind(Kind::Float)
            .contiguous()
            .view(-1),
    )
    .expect("numbers")
}
