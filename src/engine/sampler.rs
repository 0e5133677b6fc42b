//! From scores to the next token. A vocabulary of 262,144 is never sorted: its scores are seen as groups, the
//! groups' maxima say which few groups can hold the likeliest tokens, and only those are looked at one by one. When
//! that is not enough to reach `top_p`, more groups are, in the end all of them: the answer is always exact.
//!
//! Scores that penalties change are taken out of their groups and stand beside them, so that all the others are read
//! where the model wrote them, in its own type.
//!
//! [`groups`] has the groups, [`penalty`] the tokens that penalties look at and what becomes of their scores.
//!
//! Shapes: `b` rows, `v` vocabulary.

mod groups;
mod penalty;

use ewe::backend::Sampling;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tch::{Kind, Tensor};

use groups::{Candidates, Groups};
pub use penalty::Seen;
use penalty::penalise;

/// How many groups are looked at first; the likeliest 64 tokens are always among them.
const FIRST_GROUPS: usize = 64;

/// Temperatures below this take the likeliest token: scores divided by less are no numbers any more. vLLM's bound.
const COLDEST: f64 = 1e-5;

/// One row of a batch that wants its next token.
pub struct Row<'a> {
    /// How to choose.
    pub sampling: &'a Sampling,
    /// What penalties look at.
    pub seen: &'a Seen,
    /// Tokens generated before this one; with the seed, all that chance depends on.
    pub index: usize,
    /// Tokens that must not come.
    pub forbidden: &'a [i64],
}

impl Row<'_> {
    /// Whether chance decides.
    fn is_drawn(&self) -> bool {
        self.sampling.temperature >= COLDEST
    }
}

/// Chooses the next token of every row from `logits_bv`, of any float type; none where the scores are not numbers. The
/// scores of penalised tokens are lost.
pub fn choose(logits_bv: &Tensor, rows: &[Row]) -> Vec<Option<i64>> {
    let _guard = tch::no_grad_guard();
    let logits_bv = logits_bv.contiguous();
    let beside = penalise(&logits_bv, rows);
    // What a greedy row's masses are is not asked.
    let sharpness = |row: &Row| {
        if row.is_drawn() {
            1.0 / row.sampling.temperature as f32
        } else {
            1.0
        }
    };
    let drawn = rows.iter().any(Row::is_drawn);
    let sharpness: Vec<f32> = rows.iter().filter(|_| drawn).map(sharpness).collect();
    let scores = Groups::new(&logits_bv, &sharpness, beside);
    let first = drawn.then(|| scores.likeliest(FIRST_GROUPS));
    let best = if rows.iter().all(Row::is_drawn) {
        Vec::new()
    } else {
        scores.argmax()
    };
    let pick = |(i, row): (usize, &Row)| {
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

/// Draws a token for row `i`, for which chance decides.
fn draw(scores: &Groups, i: usize, row: &Row, first: &Candidates) -> i64 {
    let s = row.sampling;
    let u = uniform(s.seed, row.index);
    if s.top_p >= 1.0 && s.top_k == 0 && s.min_p <= 0.0 {
        return scores.invert(i, u);
    }
    // Top-k has a mass of its own.
    let log_mass = if s.top_k > 0 { f64::NAN } else { scores.log_mass(i) };
    let mut looked_at = FIRST_GROUPS;
    let mut kept = keep(first, s, log_mass);
    while kept.is_none() {
        looked_at *= 8;
        kept = keep(&scores.of_row(i, looked_at), s, log_mass);
    }
    pick(&kept.expect("all groups suffice"), u)
}

/// The candidates that top-k, then top-p of what is left, then min-p let through, with their weights relative to the
/// best; none if that cannot be told from these candidates. `log_mass` is that of the whole vocabulary.
fn keep(candidates: &Candidates, s: &Sampling, log_mass: f64) -> Option<Vec<(f64, i64)>> {
    let all = &candidates.best_first;
    let Some(&(best, _)) = all.first() else {
        // No score lies above the bound of the groups that were not looked at.
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
    // Whatever was not looked at weighs less than all that was.
    (candidates.complete || s.top_k > 0).then_some(kept)
}

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

/// A number in `[0, 1)` that is a function of its arguments.
pub(super) fn uniform(seed: u64, index: usize) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(index as u64);
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

fn floats(x: &Tensor) -> Vec<f32> {
    Vec::try_from(
        x.to_device(tch::Device::Cpu)
            .to_kind(Kind::Float)
            .contiguous()
            .view(-1),
    )
    .expect("numbers")
}
