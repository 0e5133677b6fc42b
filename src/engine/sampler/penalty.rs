//! Penalties on tokens of prompt and answer, and tokens that are forbidden.
//!
//! Shapes: `b` rows, `v` vocabulary.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use ewe::backend::Sampling;
use tch::Tensor;

use super::seen_table::{SeenTable, SeenTableRow};
use super::{SamplerRow, floats};
use crate::shim::gpu::{SeenUpdate, seen_value};

/// The tokens of a prompt and its answer so far, counted.
#[derive(Debug, Default)]
pub struct SeenTokens {
    /// Index in `counts` by token.
    places: HashMap<i64, usize>,
    /// Token, and how often it was generated; 0 if it is in the prompt only.
    counts: Vec<(i64, u32)>,
    window: Option<Window>,
    /// The same counts on a GPU, if they were needed there.
    on_device: RefCell<Option<SeenTableRow>>,
}

/// The last tokens of prompt and answer, for the repetition penalty.
#[derive(Debug)]
struct Window {
    size: usize,
    last: VecDeque<i64>,
    counts: HashMap<i64, u32>,
}

impl Window {
    /// Adds a token. Returns the one that the repetition penalty no longer applies to, if any.
    fn push(&mut self, id: i64) -> Option<i64> {
        self.last.push_back(id);
        *self.counts.entry(id).or_insert(0) += 1;
        if self.last.len() > self.size
            && let Some(oldest) = self.last.pop_front()
            && let Entry::Occupied(mut entry) = self.counts.entry(oldest)
        {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
                return Some(oldest);
            }
        }
        None
    }
}

impl SeenTokens {
    /// Counts the tokens of a prompt. The repetition penalty considers the last `window` tokens, or
    /// all.
    pub fn of_prompt(prompt: &[i64], window: Option<usize>) -> SeenTokens {
        let mut seen = SeenTokens {
            window: window.map(|size| Window {
                size,
                last: VecDeque::new(),
                counts: HashMap::new(),
            }),
            ..SeenTokens::default()
        };
        for &id in prompt {
            seen.place(id);
            seen.note(id);
        }
        seen
    }

    /// Counts a generated token.
    pub fn generated(&mut self, id: i64) {
        let place = self.place(id);
        self.counts[place].1 = self.counts[place].1.saturating_add(1);
        self.note(id);
        if let Some(row) = self.on_device.get_mut() {
            row.count(id);
        }
    }

    /// Whether a device counts generated tokens by itself: without a window, which tokens leave.
    pub fn counts_on_device(&self) -> bool {
        self.window.is_none()
    }

    /// Says whether the device counts the next token before [`SeenTokens::generated`] does.
    pub fn run_ahead(&self, is_ahead: bool) {
        if let Some(row) = self.on_device.borrow_mut().as_mut() {
            row.set_ahead(is_ahead);
        }
    }

    /// Whether the repetition penalty applies to a counted token.
    fn is_repeated(&self, id: i64) -> bool {
        self.window
            .as_ref()
            .is_none_or(|window| window.counts.contains_key(&id))
    }

    /// Adds a token to the window.
    fn note(&mut self, id: i64) {
        if let Some(window) = &mut self.window
            && let Some(left) = window.push(id)
            && let Some(row) = self.on_device.get_mut()
        {
            row.change(left);
        }
    }

    /// Returns the row of `table` that has these counts, or will once [`SeenTokens::updates`] are
    /// written.
    pub(super) fn row_of(&self, table: &mut SeenTable) -> i64 {
        let mut row = self.on_device.borrow_mut();
        if let Some(row) = row.as_ref().filter(|row| table.has(row)) {
            return row.index();
        }
        let all = self.counts.iter().map(|&(id, _)| id).collect();
        row.insert(table.take(all)).index()
    }

    /// Returns what the row on the device still lacks, in a table of `vocab` tokens.
    pub(super) fn updates(&self, vocab: i64) -> Vec<SeenUpdate> {
        let row = self.on_device.borrow();
        let Some(row) = row.as_ref() else {
            return Vec::new();
        };
        let update = |&id: &i64| {
            let (_, count) = self.counts[*self.places.get(&id)?];
            let value = seen_value(count, self.is_repeated(id));
            (0..vocab)
                .contains(&id)
                .then(|| SeenUpdate::new(row.index() * vocab + id, value))
        };
        row.changed().iter().filter_map(update).collect()
    }

    /// Forgets these updates, once they are on their way.
    pub(super) fn updated(&self) {
        if let Some(row) = self.on_device.borrow_mut().as_mut() {
            row.written();
        }
    }

    /// Returns the index of a token in `counts`.
    fn place(&mut self, id: i64) -> usize {
        *self.places.entry(id).or_insert_with(|| {
            self.counts.push((id, 0));
            self.counts.len() - 1
        })
    }
}

/// Whether a request has penalties.
pub fn penalises(sampling: &Sampling) -> bool {
    sampling.presence_penalty != 0.0
        || sampling.frequency_penalty != 0.0
        || sampling.repetition_penalty != 1.0
}

/// Sets the scores of forbidden tokens to -inf. In rows with penalties, also sets the scores of
/// counted tokens to -inf, and returns them with the penalties applied, in fp32: repetition first,
/// then frequency and presence, as vLLM does.
pub(super) fn penalise(logits_bv: &Tensor, rows: &[SamplerRow]) -> Vec<Vec<(f32, i64)>> {
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

/// Sets the scores of forbidden tokens to -inf.
fn forbid(logits_bv: &Tensor, rows: &[SamplerRow]) {
    let places = forbidden_places(rows, logits_bv.size()[1]);
    if !places.is_empty() {
        let places = Tensor::from_slice(&places).to_device(logits_bv.device());
        let _ = logits_bv.view(-1).index_fill_(0, &places, f64::NEG_INFINITY);
    }
}

/// Returns the places of forbidden tokens in logits of `vocab` tokens: row times `vocab`, plus
/// token.
pub(super) fn forbidden_places(rows: &[SamplerRow], vocab: i64) -> Vec<i64> {
    rows.iter()
        .enumerate()
        .flat_map(|(i, row)| row.forbidden.iter().map(move |id| (i as i64, *id)))
        // A config may name an end-of-text token outside of the vocabulary.
        .filter(|(_, id)| (0..vocab).contains(id))
        .map(|(i, id)| i * vocab + id)
        .collect()
}
