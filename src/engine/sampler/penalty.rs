//! What is taken from the scores of tokens that were seen, and of those that must not come.
//!
//! Shapes: `b` rows, `v` vocabulary.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use ewe::backend::Sampling;
use tch::Tensor;

use super::{Row, floats};

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

fn penalises(sampling: &Sampling) -> bool {
    sampling.presence_penalty != 0.0
        || sampling.frequency_penalty != 0.0
        || sampling.repetition_penalty != 1.0
}

/// Leaves -inf in place of forbidden tokens. Takes the scores of seen tokens out of rows with penalties, leaving -inf as well, and
/// gives them as they are with penalties, in fp32: repetition first, then frequency and presence, as vLLM does.
pub(super) fn penalise(logits_bv: &Tensor, rows: &[Row]) -> Vec<Vec<(f32, i64)>> {
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
