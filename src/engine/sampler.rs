//! From scores to the next token. A vocabulary of 262,144 is never sorted: its scores are seen as groups, the
//! groups' maxima say which few groups can hold the likeliest tokens, and only those are looked at one by one. When
//! that is not enough to reach `top_p`, more groups are, in the end all of them: the answer is always exact.
//!
//! Shapes: `b` rows, `v` vocabulary, `g` groups, `w` tokens a group; `logits_bv` is fp32.

use std::collections::HashMap;

use ewe::backend::Sampling;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tch::{Kind, Tensor};

/// How many groups are looked at first; the likeliest 64 tokens are always among them.
const FIRST_GROUPS: usize = 64;

/// The tokens that penalties look at.
#[derive(Debug, Default)]
pub struct Seen {
    places: HashMap<i64, usize>,
    /// Token and how often it was generated; 0 if it is in the prompt only.
    counts: Vec<(i64, u32)>,
}

impl Seen {
    /// Those of a prompt.
    pub fn of_prompt(prompt: &[i64]) -> Seen {
        let mut seen = Seen::default();
        for &id in prompt {
            seen.place(id);
        }
        seen
    }

    /// One more generated token.
    pub fn generated(&mut self, id: i64) {
        let place = self.place(id);
        self.counts[place].1 += 1;
    }

    fn place(&mut self, id: i64) -> usize {
        *self.places.entry(id).or_insert_with(|| {
            self.counts.push((id, 0));
            self.counts.len() - 1
        })
    }
}

/// One row of a batch that wants its next token.
pub struct Row<'a> {
    /// How to choose.
    pub sampling: &'a Sampling,
    /// What penalties look at.
    pub seen: &'a Seen,
    /// Tokens generated before this one; with the seed, all that chance depends on.
    pub index: usize,
}

/// Chooses the next token of every row from `logits_bv`, of any float type; none where the scores are not numbers.
pub fn choose(logits_bv: &Tensor, rows: &[Row]) -> Vec<Option<i64>> {
    let _guard = tch::no_grad_guard();
    let penalised = rows.iter().any(|row| penalises(row.sampling));
    if !penalised && rows.iter().all(|row| row.sampling.temperature <= 0.0) {
        return Groups::new(&logits_bv.contiguous()).argmax();
    }
    let mut logits_bv = logits_bv.to_kind(Kind::Float).contiguous();
    if penalised {
        penalise(&mut logits_bv, rows);
    }
    let mut chosen = vec![None; rows.len()];
    let (drawn, greedy): (Vec<usize>, Vec<usize>) =
        (0..rows.len()).partition(|&i| rows[i].sampling.temperature > 0.0);
    if !greedy.is_empty() {
        let best = Groups::new(&select(&logits_bv, &greedy)).argmax();
        greedy.iter().zip(best).for_each(|(&row, id)| chosen[row] = id);
    }
    if !drawn.is_empty() {
        let of: Vec<&Row> = drawn.iter().map(|&i| &rows[i]).collect();
        let picked = draw(select(&logits_bv, &drawn), &of);
        drawn.iter().zip(picked).for_each(|(&row, id)| chosen[row] = id);
    }
    chosen
}

fn penalises(sampling: &Sampling) -> bool {
    sampling.presence_penalty != 0.0
        || sampling.frequency_penalty != 0.0
        || sampling.repetition_penalty != 1.0
}

/// Changes the scores of seen tokens only: repetition first, then frequency and presence, as vLLM does.
fn penalise(logits_bv: &mut Tensor, rows: &[Row]) {
    let vocab = logits_bv.size()[1];
    let (mut places, mut terms) = (Vec::new(), Vec::new());
    for (i, row) in rows.iter().enumerate().filter(|(_, row)| penalises(row.sampling)) {
        for &(id, count) in &row.seen.counts {
            let s = row.sampling;
            let minus = if count > 0 {
                s.presence_penalty + s.frequency_penalty * f64::from(count)
            } else {
                0.0
            };
            places.push(i as i64 * vocab + id);
            terms.push((s.repetition_penalty as f32, minus as f32));
        }
    }
    let places = Tensor::from_slice(&places).to_device(logits_bv.device());
    let flat = logits_bv.view(-1);
    let mut scores = floats(&flat.index_select(0, &places));
    for (score, (factor, minus)) in scores.iter_mut().zip(terms) {
        *score = if *score > 0.0 {
            *score / factor
        } else {
            *score * factor
        } - minus;
    }
    let scores = Tensor::from_slice(&scores).to_device(logits_bv.device());
    let _ = logits_bv.view(-1).index_copy_(0, &places, &scores);
}

/// Draws a token for each row, whose temperature is positive.
fn draw(mut logits_bv: Tensor, rows: &[&Row]) -> Vec<Option<i64>> {
    let device = logits_bv.device();
    let temperatures: Vec<f32> = rows.iter().map(|row| row.sampling.temperature as f32).collect();
    logits_bv /= Tensor::from_slice(&temperatures).to_device(device).unsqueeze(1);
    let groups = Groups::new(&logits_bv);
    // The logarithm of the whole mass: 1 is the mass of all probabilities, so the best one says how much it is of the
    // whole. One fused pass, where logsumexp takes three. Not needed where top-k replaces it.
    let mass_b: Vec<f64> = if rows.iter().all(|row| row.sampling.top_k > 0) {
        vec![f64::NAN; rows.len()]
    } else {
        let best_b = floats(&logits_bv.softmax(-1, Kind::Float).amax([-1].as_slice(), false));
        let log_mass = |(row, best): (usize, f32)| f64::from(groups.maximum(row)) - f64::from(best).ln();
        best_b.into_iter().enumerate().map(log_mass).collect()
    };
    let first = groups.likeliest(FIRST_GROUPS);
    (0..rows.len())
        .map(|i| {
            if groups.broken(i) {
                return None;
            }
            let row = rows[i];
            let s = row.sampling;
            let u = uniform(s.seed, row.index);
            if s.top_p >= 1.0 && s.top_k == 0 && s.min_p <= 0.0 {
                return Some(groups.invert(i, mass_b[i], u));
            }
            let mut looked_at = FIRST_GROUPS;
            let mut kept = keep(&first[i], s, mass_b[i]);
            while kept.is_none() {
                looked_at *= 8;
                kept = keep(&groups.of_row(i, looked_at), s, mass_b[i]);
            }
            Some(pick(&kept.expect("all groups suffice"), u))
        })
        .collect()
}

/// The likeliest tokens of a row, best first, equal ones by id.
struct Candidates {
    /// Score (divided by the temperature) and token.
    best_first: Vec<(f32, i64)>,
    /// Whether these are all tokens there are.
    complete: bool,
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

/// Scores of any float type as `[b, g, w]`, with the maximum of each group.
struct Groups {
    scores_bgw: Tensor,
    maxima_bg: Vec<Vec<f32>>,
    vocab: i64,
}

impl Groups {
    fn new(logits_bv: &Tensor) -> Groups {
        let (batch, vocab) = (logits_bv.size()[0], logits_bv.size()[1]);
        let width = [256, 128, 64, 32]
            .into_iter()
            .find(|w| vocab % w == 0)
            .unwrap_or(64);
        let padding = (width - vocab % width) % width;
        let padded = match padding {
            0 => logits_bv.shallow_clone(),
            _ => logits_bv.pad([0, padding], "constant", f64::NEG_INFINITY),
        };
        let scores_bgw = padded.view([batch, -1, width]);
        let maxima = floats(&scores_bgw.amax([-1].as_slice(), false));
        let maxima_bg = maxima
            .chunks(maxima.len() / batch as usize)
            .map(<[f32]>::to_vec)
            .collect();
        Groups {
            scores_bgw,
            maxima_bg,
            vocab,
        }
    }

    /// The largest score of a row.
    fn maximum(&self, row: usize) -> f32 {
        self.maxima_bg[row]
            .iter()
            .copied()
            .fold(f32::NEG_INFINITY, f32::max)
    }

    /// Whether a row says nothing: a score is not a number or without bound, or all are -inf. The largest of a group
    /// with a NaN is NaN, so that this costs no look at the scores.
    fn broken(&self, row: usize) -> bool {
        let maxima = &self.maxima_bg[row];
        maxima.iter().any(|&x| x.is_nan() || x == f32::INFINITY)
            || maxima.iter().all(|&x| x == f32::NEG_INFINITY)
    }

    /// The likeliest token of every row, the first of equal ones; none for broken rows.
    fn argmax(&self) -> Vec<Option<i64>> {
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
        let within = scores.chunks(width as usize).map(first_of);
        best.iter()
            .zip(within)
            .enumerate()
            .map(|(row, (&group, i))| (!self.broken(row)).then_some(group as i64 * width + i as i64))
            .collect()
    }

    /// For every row, the tokens above all groups but the `count` best.
    fn likeliest(&self, count: usize) -> Vec<Candidates> {
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
        let rows = scores.chunks(per_row).zip(&chosen);
        rows.map(|(scores, (best, bound))| self.candidates(scores, best, *bound))
            .collect()
    }

    /// The same for one row.
    fn of_row(&self, row: usize, count: usize) -> Candidates {
        let (best, bound) = self.best(row, count);
        let flat: Vec<i64> = best.iter().map(|&group| group as i64).collect();
        let index = Tensor::from_slice(&flat).to_device(self.scores_bgw.device());
        let scores = floats(&self.scores_bgw.get(row as i64).index_select(0, &index));
        self.candidates(&scores, &best, bound)
    }

    /// The `count` groups with the largest maxima, and the largest maximum of the others.
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

    fn candidates(&self, scores: &[f32], groups: &[usize], bound: f32) -> Candidates {
        let width = self.scores_bgw.size()[2] as usize;
        let complete = bound == f32::NEG_INFINITY;
        let mut best_first: Vec<(f32, i64)> = scores
            .chunks(width)
            .zip(groups)
            .flat_map(|(chunk, &group)| {
                chunk
                    .iter()
                    .enumerate()
                    .map(move |(i, &x)| (x, (group * width + i) as i64))
            })
            .filter(|&(x, id)| x > bound && id < self.vocab)
            .collect();
        best_first.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        Candidates { best_first, complete }
    }

    /// The token at which the cumulated probability of the whole vocabulary passes `u`.
    fn invert(&self, row: usize, log_mass: f64, u: f64) -> i64 {
        let weights_gw = (self.scores_bgw.get(row as i64) - log_mass).exp();
        let masses = floats(&weights_gw.sum_dim_intlist([-1].as_slice(), false, Kind::Float));
        let mut left = u * masses.iter().map(|&m| f64::from(m)).sum::<f64>();
        let mut group = 0;
        while group + 1 < masses.len() && left >= f64::from(masses[group]) {
            left -= f64::from(masses[group]);
            group += 1;
        }
        let weights = floats(&weights_gw.get(group as i64));
        let width = weights.len();
        let mut last = 0;
        for (i, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
            last = i;
            left -= f64::from(weight);
            if left < 0.0 {
                break;
            }
        }
        (group * width + last) as i64
    }
}

fn select(x_bv: &Tensor, rows: &[usize]) -> Tensor {
    if rows.len() as i64 == x_bv.size()[0] {
        return x_bv.shallow_clone();
    }
    let index: Vec<i64> = rows.iter().map(|&i| i as i64).collect();
    x_bv.index_select(0, &Tensor::from_slice(&index).to_device(x_bv.device()))
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
