//! The running batch. Every step advances all running requests by one token; between steps requests join and leave.
//! Request `i` of the batch lives in slot `i` of the cache, so a step reads one block of it and gathers nothing.
//!
//! Shapes: `b` running requests, `t` tokens of a prompt, `d` hidden features, `v` vocabulary.

mod config;
mod request;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use ewe::backend::FinishReason;
use tch::{Device, Kind, Tensor};

use super::logprobs::{Logprobs, Raw};
use super::prefix::{self, Prefixes};
use super::sampler::{Row, Seen, choose};
use crate::model::CausalLm;
use crate::model::attention::{ForwardPass, QuerySpan};
use crate::model::cache::KvCache;
use crate::model::fault;
use crate::model::room::{self, Shape};
use crate::shim::Inference;
pub use config::{Advice, Config};
pub use request::{Listener, Request, Wants};
use request::{Running, Waiting};

/// The most tokens of prompts seen before whose keys and values are kept.
const PREFIX_TOKENS: usize = 32_768;

/// What has been done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stats {
    /// Requests that ended, cancelled ones included.
    pub finished: usize,
    /// Tokens of their prompts and of those running.
    pub prompt_tokens: usize,
    /// Prompt tokens whose keys and values were copied instead of computed.
    pub saved_tokens: usize,
    /// Tokens generated.
    pub generated_tokens: usize,
    /// Steps taken.
    pub steps: usize,
    /// Requests that run now.
    pub running: usize,
    /// Requests that wait for a place now.
    pub waiting: usize,
    /// Bytes that keys and values of running requests take now.
    pub kv_bytes: usize,
    /// Time spent on prompts.
    pub prefill: Duration,
    /// Time spent in the model on running requests.
    pub decode: Duration,
    /// Time spent from hidden features to tokens: head, sampling, text.
    pub sample: Duration,
}

/// Why a request ends whose scores say nothing.
const NO_NUMBERS: &str = "the model's scores are not numbers: its weights are broken, or too large for the type that it computes in\nhint: --dtype fp32 rules the latter out";

/// What becomes of the first in the queue.
enum Turn {
    /// It gets a slot.
    Join,
    /// It has to wait, and those behind it with it.
    Wait,
    /// It wants no token.
    Empty,
    /// Nobody waits for it.
    Leave,
}

/// A model and the requests it is working on.
pub struct Engine {
    model: Box<dyn CausalLm>,
    kind: Kind,
    device: Device,
    config: Config,
    bytes_per_token: usize,
    cache: KvCache,
    prefixes: Prefixes,
    waiting: VecDeque<Waiting>,
    /// In slot order.
    running: Vec<Running>,
    /// The next tokens of those that run, computed and not yet delivered.
    chosen: Vec<Option<i64>>,
    /// What is to be told of them, by row.
    told: Vec<(usize, Logprobs)>,
    stats: Stats,
}

/// An empty store of beginnings. What prompts of many lengths leave in it must come to an end soon, so small models keep no more tokens
/// than a middling one.
fn prefixes(config: &Config, bytes_per_token: usize) -> Prefixes {
    Prefixes::new((config.prefix_bytes / bytes_per_token).min(PREFIX_TOKENS))
}

impl Engine {
    /// An idle engine.
    pub fn new(model: Box<dyn CausalLm>, kind: Kind, device: Device, config: Config) -> Engine {
        let bytes_per_token = KvCache::bytes_per_token(model.info(), kind).max(1);
        Engine {
            cache: KvCache::new(model.info(), kind, device),
            prefixes: prefixes(&config, bytes_per_token),
            model,
            kind,
            device,
            config,
            bytes_per_token,
            waiting: VecDeque::new(),
            running: Vec::new(),
            chosen: Vec::new(),
            told: Vec::new(),
            stats: Stats::default(),
        }
    }

    /// Adds a request; it runs as soon as there is room, in order of arrival.
    pub fn submit(&mut self, request: Request) {
        debug_assert!(!request.prompt.is_empty(), "an empty prompt has no next token");
        // Sizes come from outside, and may be the largest there are.
        let most = request.prompt.len().saturating_add(request.sampling.max_tokens);
        let most = most.min(self.model.info().context) as i64;
        self.waiting.push_back(Waiting { request, most });
    }

    /// A token that a text may begin with.
    pub fn begin_token(&self) -> i64 {
        self.model.info().begin_token.unwrap_or(0)
    }

    /// Whether there is nothing to do.
    pub fn idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// What has been done so far, and what is being done now.
    pub fn stats(&self) -> Stats {
        Stats {
            running: self.running.len(),
            waiting: self.waiting.len(),
            kv_bytes: self.bytes(self.cache.shape()),
            ..self.stats
        }
    }

    /// Drops every running request and all keys and values, after a step that failed midway. What waits goes on waiting.
    pub fn reset(&mut self) {
        self.stats.finished += self.running.len();
        self.running.clear();
        self.chosen.clear();
        self.told.clear();
        self.cache = KvCache::new(self.model.info(), self.kind, self.device);
        self.prefixes = prefixes(&self.config, self.bytes_per_token);
    }

    /// Gives every running request its next token: [`Engine::advance`], then [`Engine::deliver`].
    #[cfg(test)]
    pub fn step(&mut self) {
        self.advance();
        self.deliver();
    }

    /// Computes the next token of every running request, after the prompts of those that join.
    pub fn advance(&mut self) {
        let _held = Inference::hold();
        self.forget_the_gone();
        let started = Instant::now();
        let old = self.running.len();
        let mut hidden = self.admit();
        let prefilled = Instant::now();
        self.stats.prefill += prefilled - started;
        if self.running.is_empty() {
            return;
        }
        if old > 0 {
            hidden.insert(0, self.decode(old));
        }
        let decoded = Instant::now();
        self.stats.decode += decoded - prefilled;
        // One head over all rows: its weights are read once.
        let logits_bv = self.model.logits(&Tensor::cat(&hidden, 0));
        let rows: Vec<Row> = self
            .running
            .iter()
            .map(|r| Row {
                sampling: &r.request.sampling,
                seen: &r.seen,
                index: r.generated,
                forbidden: r.forbidden(),
            })
            .collect();
        let raw = Raw::of(&logits_bv, self.running.iter().map(|r| r.request.wants.logprobs));
        self.chosen = choose(&logits_bv, &rows);
        self.told = raw.iter().flat_map(|raw| raw.tell(&self.chosen)).collect();
        self.stats.steps += 1;
        self.stats.generated_tokens += self.chosen.len();
        self.stats.sample += decoded.elapsed();
    }

    /// Computes prompts while there is room; gives the last hidden features `[n, d]` of each.
    fn admit(&mut self) -> Vec<Tensor> {
        let (mut hidden, mut computed) = (Vec::new(), 0);
        while computed < self.config.prefill_tokens {
            let (joined, tokens) = self.join(self.config.prefill_tokens - computed);
            if joined.is_empty() {
                break;
            }
            computed += tokens;
            hidden.push(self.prefill(&joined));
        }
        hidden
    }

    /// Gives slots to those that wait, as long as there is room and they have no more than about `most` tokens to compute;
    /// gives what each has to, and how much it is. One that begins like another that joins now waits for its
    /// keys and values.
    fn join(&mut self, most: usize) -> (Vec<QuerySpan>, usize) {
        let (mut joined, mut tokens): (Vec<QuerySpan>, usize) = (Vec::new(), 0);
        self.expect();
        while self.running.len() < self.config.max_batch && tokens < most {
            // Out of the queue before anything is done with it: whatever fails takes this one along and none behind it.
            let Some(Waiting { mut request, most }) = self.waiting.pop_front() else {
                break;
            };
            let look = || self.look(&request, most, joined.len());
            let turn = match catch_unwind(AssertUnwindSafe(look)) {
                Ok(turn) => turn,
                Err(panic) => {
                    let reason = fault::words(panic.as_ref());
                    request
                        .listener
                        .failed(format!("the request was dropped: {reason}"));
                    Turn::Leave
                }
            };
            match turn {
                Turn::Leave => {
                    self.stats.finished += 1;
                    continue;
                }
                Turn::Empty => {
                    request.listener.done(FinishReason::Length, 0);
                    self.stats.finished += 1;
                    continue;
                }
                Turn::Wait => {
                    self.waiting.push_front(Waiting { request, most });
                    break;
                }
                Turn::Join => {}
            }
            self.make_room(most);
            let (slot, length) = (self.running.len() as i64, request.prompt.len());
            self.reserve(slot + 1, length as i64 + 1);
            let reused = self.prefixes.fill(&request.prompt, &mut self.cache, slot);
            joined.push(QuerySpan {
                slot,
                start: reused as i64,
                length: (length - reused) as i64,
            });
            tokens += length - reused;
            self.stats.prompt_tokens += length;
            self.stats.saved_tokens += reused;
            self.running.push(Running {
                seen: Seen::of_prompt(&request.prompt, request.wants.repetition_window),
                most,
                cached: length as i64,
                last: 0,
                generated: 0,
                request,
            });
        }
        (joined, tokens)
    }

    /// What is to be done with the first in the queue, where `joined` have got slots just now. Changes nothing.
    fn look(&self, request: &Request, most: i64, joined: usize) -> Turn {
        if request.listener.gone() {
            return Turn::Leave;
        }
        if request.sampling.max_tokens == 0 {
            return Turn::Empty;
        }
        let known = self.prefixes.longest(&request.prompt);
        let new = &self.running[self.running.len() - joined..];
        let is_spared = new
            .iter()
            .any(|other| prefix::worth(&other.request.prompt, &request.prompt) > known);
        if is_spared || !self.has_room(most) {
            return Turn::Wait;
        }
        Turn::Join
    }

    /// Makes room for all that are about to join at once, with their answers if the budget has it, else without: one by one,
    /// what is there would be copied again and again.
    fn expect(&mut self) {
        let free = self.config.max_batch.saturating_sub(self.running.len());
        let expected: Vec<&Waiting> = self.waiting.iter().take(free).collect();
        let slots = (self.running.len() + expected.len()) as i64;
        let longest = |of: &dyn Fn(&Waiting) -> i64| {
            let most = expected.iter().map(|waiting| of(waiting)).max();
            most.unwrap_or(0).max(self.cache.shape().1)
        };
        let tokens = [
            longest(&|waiting| waiting.most),
            longest(&|waiting| waiting.request.prompt.len() as i64 + 1),
        ];
        if let Some(tokens) = tokens.into_iter().find(|&tokens| self.fits((slots, tokens))) {
            self.reserve(slots, tokens);
        }
    }

    /// Whether keys and values of this shape are within the budget.
    fn fits(&self, shape: Shape) -> bool {
        self.bytes(shape) <= self.config.kv_bytes
    }

    fn bytes(&self, (slots, tokens): Shape) -> usize {
        (slots as usize)
            .saturating_mul(tokens as usize)
            .saturating_mul(self.bytes_per_token)
    }

    /// Whether one more sequence of up to `tokens` tokens fits beside those that run; alone it may in any case.
    fn has_room(&self, tokens: i64) -> bool {
        self.running.is_empty() || self.fits(self.shape_with(tokens))
    }

    /// Slots and tokens for those that run and one more sequence of up to `tokens`.
    fn shape_with(&self, tokens: i64) -> Shape {
        let longest = self.running.iter().map(|r| r.most).max().unwrap_or(0);
        (self.running.len() as i64 + 1, longest.max(tokens))
    }

    /// Has a shape for one more sequence of up to `tokens` tokens: room for the longest that runs now, where the shape that some
    /// former batch needed is too much beside it.
    fn make_room(&mut self, tokens: i64) {
        let (slots, longest) = self.shape_with(tokens);
        let (have_slots, have_tokens) = self.cache.shape();
        if !self.fits((have_slots.max(slots), have_tokens.max(longest))) {
            self.cache.resize(slots, longest);
        }
    }

    /// Makes room for `slots` requests of `tokens` each, within the budget.
    fn reserve(&mut self, slots: i64, tokens: i64) {
        let most = (self.config.max_batch as i64, self.model.info().context as i64);
        let shape = room::grown(self.cache.shape(), (slots, tokens), most, |shape| {
            self.fits(shape)
        });
        self.cache.resize(shape.0, shape.1);
    }

    /// Computes what those that joined have to, all at once: weights are read once for all of them. Gives the features of
    /// each one's last token, `[n, d]`.
    fn prefill(&mut self, joined: &[QuerySpan]) -> Tensor {
        let tokens: Vec<i64> = joined
            .iter()
            .flat_map(|new| &self.running[new.slot as usize].request.prompt[new.start as usize..])
            .copied()
            .collect();
        let tokens_1t = Tensor::from_slice(&tokens).unsqueeze(0).to_device(self.device);
        let mut pass = ForwardPass::ragged(&mut self.cache, joined, self.device);
        let hidden_1td = self.model.forward(&tokens_1t, &mut pass);
        let mut last = Vec::new();
        for new in joined {
            let prompt = &self.running[new.slot as usize].request.prompt;
            self.prefixes
                .offer(prompt, new.start as usize, &self.cache, new.slot);
            last.push(last.last().copied().unwrap_or(-1) + new.length);
        }
        let last_n = Tensor::from_slice(&last).to_device(self.device);
        hidden_1td.squeeze_dim(0).index_select(0, &last_n)
    }

    /// Advances the first `count` requests by their last token: `hidden_bd`.
    fn decode(&mut self, count: usize) -> Tensor {
        let longest = self.running[..count].iter().map(|r| r.cached).max().unwrap_or(0);
        self.reserve(count as i64, longest + 1);
        let rows = &mut self.running[..count];
        let last: Vec<i64> = rows.iter().map(|r| r.last).collect();
        let starts: Vec<i64> = rows.iter().map(|r| r.cached).collect();
        rows.iter_mut().for_each(|r| r.cached += 1);
        let tokens_bt = Tensor::from_slice(&last).unsqueeze(1).to_device(self.device);
        let mut pass = ForwardPass::cached(&mut self.cache, 0, &starts, 1, self.device);
        self.model.forward(&tokens_bt, &mut pass).select(1, 0)
    }

    /// Hands each request its token and lets go of those that end with it. Apart from [`Engine::advance`], so that whoever
    /// hears of an end finds it counted.
    pub fn deliver(&mut self) {
        for (row, logprobs) in self.told.drain(..) {
            self.running[row].request.listener.logprobs(logprobs);
        }
        let context = self.model.info().context;
        let mut ended = Vec::new();
        for (row, (running, token)) in self.running.iter_mut().zip(self.chosen.drain(..)).enumerate() {
            let Some(token) = token else {
                running.request.listener.failed(NO_NUMBERS.to_string());
                // What is no number would spread to whoever gets the slot next, even from places that a mask hides.
                self.cache.wipe(row as i64);
                ended.push(row);
                continue;
            };
            running.last = token;
            running.generated += 1;
            running.seen.generated(token);
            let request = &mut running.request;
            let ends = !request.sampling.ignore_eos && request.end_tokens.contains(&token);
            let reason = if ends || !request.listener.token(token) {
                Some(FinishReason::Stop)
            } else if running.generated >= request.sampling.max_tokens
                || request.prompt.len() + running.generated >= context
            {
                Some(FinishReason::Length)
            } else {
                None
            };
            if let Some(reason) = reason {
                request.listener.done(reason, running.generated);
                ended.push(row);
            }
        }
        // From the back, so that what moves into a gap is known to go on.
        ended.into_iter().rev().for_each(|row| self.release(row));
    }

    fn forget_the_gone(&mut self) {
        for row in (0..self.running.len()).rev() {
            if self.running[row].request.listener.gone() {
                self.release(row);
            }
        }
    }

    /// Frees a slot; the last one takes its place.
    fn release(&mut self, row: usize) {
        let last = self.running.len() - 1;
        if row != last {
            self.cache
                .move_row(last as i64, row as i64, self.running[last].cached);
        }
        self.running.swap_remove(row);
        self.stats.finished += 1;
    }
}
