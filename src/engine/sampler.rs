//! From scores to the next token. A vocabulary of 262,144 is never sorted: its scores are seen as groups, the
//! groups' maxima say which few groups can hold the likeliest tokens, and only those are looked at one by one. When
//! that is not enough to reach `top_p`, more groups are, in the end all of them: the answer is always exact.
//!
//! Scores that penalties change are taken out of their groups and stand beside them, so that all the others are read
//! where the model wrote them, in its own type.
//!
//! Shapes: `b` rows, `v` vocabulary, `g` groups, `w` tokens a group.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use ewe::backend::Sampling;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tch::{Kind, Tensor};

use crate::shim::{self, Summary};

/// How many groups are looked at first; the likeliest 64 tokens are always among them.
const FIRST_GROUPS: usize = 64;

/// Temperatures below this take the likeliest token: scores divided by less are no numbers any more. vLLM's bound.
const COLDEST: f64 = 1e-5;

/// The tokens that penalties look at.
#[derive(Debug, Default)]
pub struct Seen {
    places: HashMap<i64, usize>,
    /// Token and how often it was generated; 0 if it is in the prompt only.
    counts: Vec<(i64, u32)>,
    window: Option<Window>,
}

/// The last tokens of prompt and answer.
#[derive(Debug)]
struct Window {
    size: usize,
    last: VecDeque<i64>,
    counts: HashMap<i64, u32>,
}

impl Window {
    fn push(&mut self, id: i64) {
        self.last.push_back(id);
        *self.counts.entry(id).or_insert(0) += 1;
        if self.last.len() > self.size
            && let Some(oldest) = self.last.pop_front()
            && let Entry::Occupied(mut entry) = self.counts.entry(oldest)
        {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

impl Seen {
    /// Those of a prompt; the repetition penalty looks at so many of the last ones, or at all.
    pub fn of_prompt(prompt: &[i64], window: Option<usize>) -> Seen {
        let mut seen = Seen {
            window: window.map(|size| Window {
                size,
                last: VecDeque::new(),
                counts: HashMap::new(),
            }),
            ..Seen::default()
        };
        for &id in prompt {
            seen.place(id);
            seen.note(id);
        }
        seen
    }

    /// One more generated token.
    pub fn generated(&mut self, id: i64) {
        let place = self.place(id);
        self.counts[place].1 = self.counts[place].1.saturating_add(1);
        self.note(id);
    }

    /// Whether the repetition penalty falls on a token that was seen.
    fn is_repeated(&self, id: i64) -> bool {
        self.window
            .as_ref()
            .is_none_or(|window| window.counts.contains_key(&id))
    }

    fn note(&mut self, id: i64) {
        if let Some(window) = &mut self.window {
            window.push(id);
        }
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

fn penalises(sampling: &Sampling) -> bool {
    sampling.presence_penalty != 0.0
        || sampling.frequency_penalty != 0.0
        || sampling.repetition_penalty != 1.0
}

/// Leaves -inf in place of forbidden tokens. Takes the scores of seen tokens out of rows with penalties, leaving -inf as well, and
/// gives them as they are with penalties, in fp32: repetition first, then frequency and presence, as vLLM does.
fn penalise(logits_bv: &Tensor, rows: &[Row]) -> Vec<Vec<(f32, i64)>> {
    let vocab = logits_bv.size()[1];
    let mut beside: Vec<Vec<(f32, i64)>> = rows.iter().map(|_| Vec::new()).collect();
    let penalised = || rows.iter().enumerate().filter(|(_, row)| penalises(row.sampling));
    let places: Vec<i64> = penalised()
        .flat_map(|(i, row)| row.seen.counts.iter().map(move |(id, _)| i as i64 * vocab + id))
        .collect();
    forbid(logits_bv, rows);
    if places.is_empty() {
        return beside;
    }
    let places = Tensor::from_slice(&places).to_device(logits_bv.device());
    let mut flat = logits_bv.view(-1);
    let mut scores = floats(&flat.index_select(0, &places)).into_iter();
    let _ = flat.index_fill_(0, &places, f64::NEG_INFINITY);
    for (i, row) in penalised() {
        let s = row.sampling;
        let factor = s.repetition_penalty as f32;
        let changed = row
            .seen
            .counts
            .iter()
            .zip(&mut scores)
            .map(|(&(id, count), score)| {
                let minus = if count > 0 {
                    s.presence_penalty + s.frequency_penalty * f64::from(count)
                } else {
                    0.0
                };
                let score = match row.seen.is_repeated(id) {
                    true if score > 0.0 => score / factor,
                    true => score * factor,
                    false => score,
                };
                (score - minus as f32, id)
            });
        beside[i].extend(changed);
    }
    beside
}

fn forbid(logits_bv: &Tensor, rows: &[Row]) {
    let vocab = logits_bv.size()[1];
    let places: Vec<i64> = rows
        .iter()
        .enumerate()
        .flat_map(|(i, row)| row.forbidden.iter().map(move |id| (i as i64, *id)))
        // A config may name an end-of-text token that the model has no score for.
        .filter(|(_, id)| (0..vocab).contains(id))
        .map(|(i, id)| i * vocab + id)
        .collect();
    if !places.is_empty() {
        let places = Tensor::from_slice(&places).to_device(logits_bv.device());
        let _ = logits_bv.view(-1).index_fill_(0, &places, f64::NEG_INFINITY);
    }
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

/// Scores of any float type as `[b, g, w]`, with what is known of each group, and those that stand beside them.
struct Groups {
    scores_bgw: Tensor,
    maxima_bg: Vec<Vec<f32>>,
    /// `Σ exp((score − the row's largest) · sharpness)`; empty where nothing is drawn.
    sums_bg: Vec<Vec<f32>>,
    /// The inverse of each row's temperature.
    sharpness_b: Vec<f32>,
    /// Scores and tokens that are not in the groups, by token.
    beside: Vec<Vec<(f32, i64)>>,
    vocab: i64,
}

impl Groups {
    fn new(logits_bv: &Tensor, sharpness_b: &[f32], mut beside: Vec<Vec<(f32, i64)>>) -> Groups {
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

    /// The largest score in a row's groups.
    fn maximum(&self, row: usize) -> f32 {
        self.maxima_bg[row]
            .iter()
            .copied()
            .fold(f32::NEG_INFINITY, f32::max)
    }

    /// Whether a row says nothing: a score is not a number or without bound, or all are -inf. The largest of a group
    /// with a NaN is NaN, so that this costs no look at the scores.
    fn broken(&self, row: usize) -> bool {
        let beside = self.beside[row].iter().map(|&(score, _)| score);
        let all = || self.maxima_bg[row].iter().copied().chain(beside.clone());
        all().any(|x| x.is_nan() || x == f32::INFINITY) || all().all(|x| x == f32::NEG_INFINITY)
    }

    /// What a row's scores weigh.
    fn masses(&self, row: usize) -> Masses {
        let (maximum, sharpness) = (self.maximum(row), self.sharpness_b[row]);
        let most = self.beside[row].iter().fold(maximum, |most, b| most.max(b.0));
        let weigh = |score: f32| f64::from((score - most) * sharpness).exp();
        // Where everything is beside the groups, they weigh nothing.
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

    /// The logarithm of the mass of a whole row, in which a score of 0 weighs 1.
    fn log_mass(&self, row: usize) -> f64 {
        let masses = self.masses(row);
        f64::from(masses.most * self.sharpness_b[row]) + masses.total().ln()
    }

    /// The likeliest token of every row, the first of equal ones.
    fn argmax(&self) -> Vec<i64> {
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
        let rows = scores.chunks(per_row).zip(&chosen).enumerate();
        rows.map(|(row, (scores, (best, bound)))| self.candidates(row, scores, best, *bound))
            .collect()
    }

    /// The same for one row.
    fn of_row(&self, row: usize, count: usize) -> Candidates {
        let (best, bound) = self.best(row, count);
        let flat: Vec<i64> = best.iter().map(|&group| group as i64).collect();
        let index = Tensor::from_slice(&flat).to_device(self.scores_bgw.device());
        let scores = floats(&self.scores_bgw.get(row as i64).index_select(0, &index));
        self.candidates(row, &scores, &best, bound)
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

    fn candidates(&self, row: usize, scores: &[f32], groups: &[usize], bound: f32) -> Candidates {
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
        Candidates { best_first, complete }
    }

    /// The token at which the cumulated probability of the whole vocabulary passes `u`.
    fn invert(&self, row: usize, u: f64) -> i64 {
        let (masses, width) = (self.masses(row), self.scores_bgw.size()[2]);
        // Group by group, each with those of its tokens that stand beside it.
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

/// What the scores of a row weigh, the largest of all weighing 1.
struct Masses {
    /// The largest score.
    most: f32,
    /// What the largest score in the groups weighs.
    shrink: f64,
    /// All groups together.
    inside: f64,
    /// The scores beside them, with their tokens.
    beside: Vec<(f64, i64)>,
}

impl Masses {
    fn total(&self) -> f64 {
        self.inside + self.beside.iter().map(|(weight, _)| weight).sum::<f64>()
    }
}

/// What [`shim::summarise`] gives, by libtorch's operations.
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

fn floats(x: &Tensor) -> Vec<f32> {
    Vec::try_from(
        x.to_device(tch::Device::Cpu)
            .to_kind(Kind::Float)
            .contiguous()
            .view(-1),
    )
    .expect("numbers")
}
