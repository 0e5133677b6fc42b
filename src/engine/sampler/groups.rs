//! Scores in groups of tokens, with the maximum and the mass of each group.
//!
//! Shapes: `b` rows, `v` vocabulary, `g` groups, `w` tokens per group, `n` all groups of all rows.

use tch::{Kind, Tensor};

use super::floats;
use crate::shim::{self, Summary};

/// The likeliest tokens of a row.
pub(super) struct TokenCandidates {
    /// Score, divided by the temperature, and token; best first, equal ones by id.
    pub(super) best_first: Vec<(f32, i64)>,
    /// Whether these are all tokens of the vocabulary.
    pub(super) complete: bool,
}

/// Scores of any float type as `[b, g, w]`, a summary of each group, and the scores kept beside
/// them.
pub(super) struct Groups {
    scores_bgw: Tensor,
    maxima_bg: Vec<Vec<f32>>,
    /// `Σ exp((score − the row's largest) · sharpness)`; empty if no row is drawn.
    sums_bg: Vec<Vec<f32>>,
    /// The inverse of each row's temperature.
    sharpness_b: Vec<f32>,
    /// Scores and tokens that are not in the groups, sorted by token.
    beside: Vec<Vec<(f32, i64)>>,
    vocab: i64,
}

/// Returns the number of tokens of a group.
pub(super) fn group_width(vocab: i64) -> i64 {
    [256, 128, 64, 32]
        .into_iter()
        .find(|w| vocab % w == 0)
        .unwrap_or(64)
}

impl Groups {
    /// Groups `logits_bv`. `sharpness_b` is empty if no row is drawn.
    pub(super) fn new(logits_bv: &Tensor, sharpness_b: &[f32], mut beside: Vec<Vec<(f32, i64)>>) -> Groups {
        let (batch, vocab) = (logits_bv.size()[0], logits_bv.size()[1]);
        let width = group_width(vocab);
        let padding = (width - vocab % width) % width;
        let padded = match padding {
            0 => logits_bv.shallow_clone(),
            _ => logits_bv.pad([0, padding], "constant", f64::NEG_INFINITY),
        };
        let summary = if shim::usable(&[&padded]) {
            shim::summarise(&padded, width as usize, sharpness_b)
        } else {
            summarise(&padded.view([batch, -1, width]), sharpness_b)
        };
        let groups = (padded.size()[1] / width) as usize;
        let by_row = |all: Vec<f32>| all.chunks(groups).map(<[f32]>::to_vec).collect();
        beside
            .iter_mut()
            .for_each(|scores| scores.sort_unstable_by_key(|&(_, id)| id));
        Groups {
            scores_bgw: padded.view([batch, -1, width]),
            maxima_bg: by_row(summary.maxima_ng),
            sums_bg: by_row(summary.sums_ng),
            sharpness_b: sharpness_b.to_vec(),
            beside,
            vocab,
        }
    }

    /// Returns the largest score in a row's groups.
    fn maximum(&self, row: usize) -> f32 {
        self.maxima_bg[row]
            .iter()
            .copied()
            .fold(f32::NEG_INFINITY, f32::max)
    }

    /// Whether a row is unusable: a score is NaN or infinite, or all are -inf. The maximum of a
    /// group with a NaN is NaN, so this reads no scores.
    pub(super) fn broken(&self, row: usize) -> bool {
        let beside = self.beside[row].iter().map(|&(score, _)| score);
        let all = || self.maxima_bg[row].iter().copied().chain(beside.clone());
        all().any(|x| x.is_nan() || x == f32::INFINITY) || all().all(|x| x == f32::NEG_INFINITY)
    }

    /// Returns the masses of a row.
    fn masses(&self, row: usize) -> Masses {
        let (maximum, sharpness) = (self.maximum(row), self.sharpness_b[row]);
        let most = self.beside[row].iter().fold(maximum, |most, b| most.max(b.0));
        let weigh = |score: f32| f64::from((score - most) * sharpness).exp();
        // If all scores are beside the groups, the groups weigh nothing.
        let shrink = if maximum > f32::NEG_INFINITY {
            weigh(maximum)
        } else {
            0.0
        };
        let inside: f64 = self.sums_bg[row].iter().map(|&sum| f64::from(sum)).sum();
        Masses {
            most,
            shrink,
            inside: if shrink > 0.0 { inside * shrink } else { 0.0 },
            beside: self.beside[row]
                .iter()
                .map(|&(score, id)| (weigh(score), id))
                .collect(),
        }
    }

    /// Returns the logarithm of the mass of a whole row, where a score of 0 weighs 1.
    pub(super) fn log_mass(&self, row: usize) -> f64 {
        let masses = self.masses(row);
        f64::from(masses.most * self.sharpness_b[row]) + masses.total().ln()
    }

    /// Returns the likeliest token of every row, the first of equal ones.
    pub(super) fn argmax(&self) -> Vec<i64> {
        let (groups, width) = (self.maxima_bg[0].len(), self.scores_bgw.size()[2]);
        let first_of = |scores: &[f32]| {
            (1..scores.len()).fold(0, |best, i| if scores[i] > scores[best] { i } else { best })
        };
        let best: Vec<usize> = self.maxima_bg.iter().map(|maxima| first_of(maxima)).collect();
        let flat: Vec<i64> = best
            .iter()
            .enumerate()
            .map(|(row, group)| (row * groups + group) as i64)
            .collect();
        let index = Tensor::from_slice(&flat).to_device(self.scores_bgw.device());
        let scores = floats(&self.scores_bgw.flatten(0, 1).index_select(0, &index));
        let within = scores.chunks(width as usize);
        best.iter()
            .zip(within)
            .zip(&self.beside)
            .map(|((&group, scores), beside)| {
                let i = first_of(scores);
                let inside = (scores[i], group as i64 * width + i as i64);
                let better = |a: (f32, i64), b: (f32, i64)| b.0 > a.0 || (b.0 == a.0 && b.1 < a.1);
                let best = beside.iter().fold(
                    inside,
                    |best, &other| if better(best, other) { other } else { best },
                );
                best.1
            })
            .collect()
    }

    /// Returns, for every row, the tokens of the `count` best groups that beat all other groups.
    pub(super) fn likeliest(&self, count: usize) -> Vec<TokenCandidates> {
        let (groups, width) = (self.maxima_bg[0].len(), self.scores_bgw.size()[2] as usize);
        let chosen: Vec<(Vec<usize>, f32)> = (0..self.maxima_bg.len())
            .map(|row| self.best(row, count))
            .collect();
        let flat: Vec<i64> = chosen
            .iter()
            .enumerate()
            .flat_map(|(row, (best, _))| best.iter().map(move |&group| (row * groups + group) as i64))
            .collect();
        let index = Tensor::from_slice(&flat).to_device(self.scores_bgw.device());
        let scores = floats(&self.scores_bgw.flatten(0, 1).index_select(0, &index));
        let per_row = chosen[0].0.len() * width;
        let rows = scores.chunks(per_row).zip(&chosen).enumerate();
        rows.map(|(row, (scores, (best, bound)))| self.candidates(row, scores, best, *bound))
            .collect()
    }

    /// As [`Groups::likeliest`], for one row.
    pub(super) fn of_row(&self, row: usize, count: usize) -> TokenCandidates {
        let (best, bound) = self.best(row, count);
        let flat: Vec<i64> = best.iter().map(|&group| group as i64).collect();
        let index = Tensor::from_slice(&flat).to_device(self.scores_bgw.device());
        let scores = floats(&self.scores_bgw.get(row as i64).index_select(0, &index));
        self.candidates(row, &scores, &best, bound)
    }

    /// Returns the `count` groups with the largest maxima, and the largest maximum of the others.
    fn best(&self, row: usize, count: usize) -> (Vec<usize>, f32) {
        let maxima = &self.maxima_bg[row];
        let mut order: Vec<usize> = (0..maxima.len()).collect();
        if count >= order.len() {
            return (order, f32::NEG_INFINITY);
        }
        let (_, &mut next, _) = order.select_nth_unstable_by(count, |&a, &b| maxima[b].total_cmp(&maxima[a]));
        order.truncate(count);
        (order, maxima[next])
    }

    /// Returns the tokens of `groups`, whose scores are `scores`, that are above `bound`.
    fn candidates(&self, row: usize, scores: &[f32], groups: &[usize], bound: f32) -> TokenCandidates {
        let width = self.scores_bgw.size()[2] as usize;
        let complete = bound == f32::NEG_INFINITY;
        let inside = scores.chunks(width).zip(groups).flat_map(|(chunk, &group)| {
            chunk
                .iter()
                .enumerate()
                .map(move |(i, &x)| (x, (group * width + i) as i64))
        });
        let mut best_first: Vec<(f32, i64)> = inside
            .chain(self.beside[row].iter().copied())
            .filter(|&(x, id)| x > bound && id < self.vocab)
            .collect();
        best_first.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let sharpness = self.sharpness_b[row];
        best_first.iter_mut().for_each(|(score, _)| *score *= sharpness);
        TokenCandidates { best_first, complete }
    }

    /// Returns the token at which the cumulated probability of the whole vocabulary passes `u`.
    pub(super) fn invert(&self, row: usize, u: f64) -> i64 {
        let (masses, width) = (self.masses(row), self.scores_bgw.size()[2]);
        // The mass of each group, with those of its tokens that are beside it.
        let mut of_group: Vec<f64> = self.sums_bg[row]
            .iter()
            .map(|&sum| {
                if masses.shrink > 0.0 {
                    f64::from(sum) * masses.shrink
                } else {
                    0.0
                }
            })
            .collect();
        for &(weight, id) in &masses.beside {
            of_group[(id / width) as usize] += weight;
        }
        let mut left = u * of_group.iter().sum::<f64>();
        let mut group = 0;
        while group + 1 < of_group.len() && left >= of_group[group] {
            left -= of_group[group];
            group += 1;
        }
        // Rounding may lead beyond the last group that has a token.
        while group > 0 && of_group[group] <= 0.0 {
            group -= 1;
        }
        let scores = floats(&self.scores_bgw.get(row as i64).get(group as i64));
        let mut weights: Vec<(f64, i64)> = scores
            .iter()
            .map(|&score| f64::from((score - masses.most) * self.sharpness_b[row]).exp())
            .zip(group as i64 * width..)
            .collect();
        for &(weight, id) in masses.beside.iter().filter(|(_, id)| id / width == group as i64) {
            weights[(id % width) as usize].0 = weight;
        }
        let mut last = group as i64 * width;
        for (weight, id) in weights.into_iter().filter(|(weight, _)| *weight > 0.0) {
            last = id;
            left -= weight;
            if left < 0.0 {
                break;
            }
        }
        last
    }
}

/// The masses of a row, where the largest score weighs 1.
struct Masses {
    /// The largest score.
    most: f32,
    /// The weight of the largest score in the groups.
    shrink: f64,
    /// The mass of all groups.
    inside: f64,
    /// The weights of the scores beside them, with their tokens.
    beside: Vec<(f64, i64)>,
}

impl Masses {
    /// Returns the mass of the row.
    fn total(&self) -> f64 {
        self.inside + self.beside.iter().map(|(weight, _)| weight).sum::<f64>()
    }
}

/// As [`shim::summarise`], in libtorch operations.
fn summarise(scores_bgw: &Tensor, sharpness_b: &[f32]) -> Summary {
    let maxima_bg = scores_bgw.amax([-1].as_slice(), false).to_kind(Kind::Float);
    let sums_ng = if sharpness_b.is_empty() {
        Vec::new()
    } else {
        let most_b11 = maxima_bg.amax([-1].as_slice(), true).unsqueeze(-1);
        let sharpness_b11 = Tensor::from_slice(sharpness_b)
            .to_device(scores_bgw.device())
            .view([-1, 1, 1]);
        let weights_bgw = ((scores_bgw.to_kind(Kind::Float) - most_b11) * sharpness_b11).exp();
        floats(&weights_bgw.sum_dim_intlist([-1].as_slice(), false, Kind::Float))
    };
    Summary {
        maxima_ng: floats(&maxima_bg),
        sums_ng,
    }
}
