//! The running batch. Every step advances all running requests by one token; requests join and
//! leave between steps. Request `i` of the batch has slot `i` of the KV cache, so a step gathers
//! nothing: it reads one block of slots, or the pages of the first tables.
//!
//! Shapes: `b` running requests, `t` tokens of a prompt, `d` hidden features, `v` vocabulary.

mod config;
mod constrain;
mod leaving;
mod preemption;
mod prompt_scores;
mod request;
mod room;
mod step;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use ewe::backend::FinishReason;
use tch::{Device, Kind, Tensor};

use super::grammar::Grammar;
use super::grammar::constraint::Progress;
use super::logprobs::Logprobs;
use super::prefix::{self, PrefixCache};
use super::sampler::DeviceSampler;
use crate::model::CausalLm;
use crate::model::cache::KvCache;
use crate::model::fault;
use crate::model::layers::adapters;
use crate::model::layers::attention::{ForwardPass, QuerySpan};
use crate::model::out_of_memory::Stage;
use crate::shim::transfer::{Upload, Uploaded};
pub use config::{Advice, BatchConfig, OutOfMemoryPolicy};
use prompt_scores::PromptScores;
pub use request::{Begun, EngineRequest, Listener, PromptListener, RequestOptions};
use request::{QueuedRequest, RunningRequest};
use step::{StepBefore, StepInFlight};

/// What an engine has done so far, and what it is doing now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stats {
    /// Requests that ended, cancelled ones included.
    pub finished: usize,
    /// Prompt tokens of requests that ended or run.
    pub prompt_tokens: usize,
    /// Prompt tokens whose keys and values came from the prefix cache.
    pub saved_tokens: usize,
    /// Tokens generated.
    pub generated_tokens: usize,
    /// Steps taken.
    pub steps: usize,
    /// Requests that run now.
    pub running: usize,
    /// Requests in the queue now.
    pub waiting: usize,
    /// Bytes of the KV cache now; of a pool of pages, those in use.
    pub kv_bytes: usize,
    /// Time spent on prefill.
    pub prefill: Duration,
    /// Time spent in the model on decode steps, with its output head.
    pub decode: Duration,
    /// Time from scores to tokens: picking, text.
    pub sample: Duration,
}

/// Why a request ends if its scores are not numbers.
const NO_NUMBERS: &str = "the model's scores are not numbers: its weights are broken, or too large for the type that it computes in\nhint: --dtype fp32 rules the latter out";

/// What happens to the first request in the queue.
enum JoinDecision {
    /// It gets a slot.
    Join,
    /// It waits, and so do those behind it.
    Wait,
    /// It asks for no token.
    Empty,
    /// Nobody waits for its answer.
    Leave,
}

/// A model and its requests.
pub struct Engine {
    model: Box<dyn CausalLm>,
    device: Device,
    config: BatchConfig,
    bytes_per_token: usize,
    /// The most bytes of the KV cache: the config's, or fewer since memory ran out.
    kv_limit: usize,
    /// The most prompt tokens between two decode steps: the config's, or fewer since memory ran
    /// out.
    prefill_limit: usize,
    cache: KvCache,
    prefixes: PrefixCache,
    waiting: VecDeque<QueuedRequest>,
    /// In slot order.
    running: Vec<RunningRequest>,
    /// The next tokens of running requests by slot, in order, computed and not yet delivered; none
    /// where scores are not numbers.
    chosen: Vec<(usize, Option<i64>)>,
    /// Logprobs of these tokens, by slot.
    logprobs: Vec<(usize, Logprobs)>,
    /// Prompts whose logprobs are being computed, in order of arrival.
    scores: VecDeque<PromptScores>,
    /// Samples on the GPU; none where the CPU samples.
    sampler: Option<DeviceSampler>,
    /// The step behind the one whose tokens were read last.
    enqueued: Option<StepInFlight>,
    stats: Stats,
    stage: Stage,
    /// Requests submitted so far.
    arrivals: u64,
    /// Whether listeners are being passed their tokens: some may have ended already.
    is_delivering: bool,
}

/// Returns an empty prefix cache.
fn prefix_cache(config: &BatchConfig, bytes_per_token: usize) -> PrefixCache {
    PrefixCache::new((config.prefix_bytes / bytes_per_token).min(config.prefix_tokens))
}

impl Engine {
    /// Returns an idle engine.
    pub fn new(model: Box<dyn CausalLm>, kind: Kind, device: Device, config: BatchConfig) -> Engine {
        let bytes_per_token = KvCache::bytes_per_token(model.info(), kind).max(1);
        Engine {
            cache: KvCache::new(model.info(), kind, device),
            prefixes: prefix_cache(&config, bytes_per_token),
            model,
            device,
            kv_limit: config.kv_bytes,
            prefill_limit: config.prefill_tokens,
            config,
            bytes_per_token,
            waiting: VecDeque::new(),
            running: Vec::new(),
            chosen: Vec::new(),
            logprobs: Vec::new(),
            scores: VecDeque::new(),
            sampler: DeviceSampler::of_gpu(device),
            enqueued: None,
            stats: Stats::default(),
            stage: Stage::Loading,
            arrivals: 0,
            is_delivering: false,
        }
    }

    /// Adds a request to the queue. It runs as soon as there is room, in order of arrival.
    pub fn submit(&mut self, mut request: EngineRequest) {
        debug_assert!(!request.prompt.is_empty(), "an empty prompt has no next token");
        // Sizes come from outside, and may be as large as the type allows.
        let answer = request.sampling.max_tokens.max(1);
        let most = request.prompt.len().saturating_add(answer);
        let most = most.min(self.model.info().context) as i64;
        if self.idle() {
            // Memory that had run out may be free again.
            (self.kv_limit, self.prefill_limit) = (self.config.kv_bytes, self.config.prefill_tokens);
        }
        let begun = &mut request.begun;
        let (answer, held) = (std::mem::take(&mut begun.answer), begun.constraint.take());
        let constraint = held.or_else(|| request.options.grammar.as_ref().map(Grammar::begin));
        self.waiting.push_back(QueuedRequest {
            constraint,
            preempted: request.begun.has_run,
            answer,
            request,
            most,
            arrival: self.arrivals,
        });
        self.arrivals += 1;
    }

    /// Returns a token that a text may begin with.
    pub fn begin_token(&self) -> i64 {
        self.model.info().begin_token.unwrap_or(0)
    }

    /// Whether no request runs or waits, and no prompt is being scored.
    pub fn idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty() && self.scores.is_empty()
    }

    /// Returns what has been done so far, and what is being done now.
    pub fn stats(&self) -> Stats {
        Stats {
            running: self.running.len(),
            waiting: self.waiting.len(),
            kv_bytes: self.kv_bytes(),
            ..self.stats
        }
    }

    /// Returns what the last step was doing, for the error of a step that failed.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Gives every running request its next token: [`Engine::advance`], then [`Engine::deliver`].
    #[cfg(test)]
    pub fn step(&mut self) {
        self.advance();
        self.deliver();
    }

    /// Prefills prompts from the queue while there is room. Returns the hidden features of each
    /// prompt's last token, `[n, d]` per prefill.
    fn admit(&mut self) -> Vec<Tensor> {
        let (mut hidden, mut computed) = (Vec::new(), 0);
        while computed < self.prefill_limit {
            let (joined, tokens) = self.join(self.prefill_limit - computed);
            if joined.is_empty() {
                break;
            }
            computed += tokens;
            hidden.push(self.prefill(&joined));
        }
        hidden
    }

    /// Gives slots to requests of the queue, while there is room and until they have about `most`
    /// tokens to compute. Returns the query span of each, and the sum of their tokens. A request
    /// that shares a prefix with one that joins now waits for that one's keys and values.
    fn join(&mut self, most: usize) -> (Vec<QuerySpan>, usize) {
        let (mut joined, mut tokens): (Vec<QuerySpan>, usize) = (Vec::new(), 0);
        self.reserve_for_queue();
        while self.running.len() < self.config.max_batch && tokens < most {
            // Out of the queue first, so that a failure ends this request and none behind it.
            let Some(mut queued) = self.waiting.pop_front() else {
                break;
            };
            let decide = || self.decide(&queued, joined.len());
            let decision = match catch_unwind(AssertUnwindSafe(decide)) {
                Ok(decision) => decision,
                Err(panic) => {
                    let reason = fault::words(panic.as_ref());
                    let listener = &mut queued.request.listener;
                    listener.failed(format!("the request was dropped: {reason}"));
                    JoinDecision::Leave
                }
            };
            match decision {
                JoinDecision::Leave => {
                    self.stats.finished += 1;
                    continue;
                }
                JoinDecision::Empty => {
                    queued.request.listener.done(FinishReason::Length, 0);
                    self.stats.finished += 1;
                    continue;
                }
                JoinDecision::Wait => {
                    self.waiting.push_front(queued);
                    break;
                }
                JoinDecision::Join => {}
            }
            let span = self.give_slot(queued);
            tokens += span.length as usize;
            joined.push(span);
        }
        (joined, tokens)
    }

    /// Gives a request the next slot, and fills in the prefix of its prompt that is known. Returns
    /// the query span of the other tokens.
    fn give_slot(&mut self, queued: QueuedRequest) -> QuerySpan {
        let (length, is_new) = (queued.length(), !queued.preempted);
        let slot = self.running.len() as i64;
        // First, so that the request is not lost if there is no memory for it.
        self.running.push(RunningRequest::of(queued));
        let reused = self.take_slot(slot, length as i64);
        if is_new {
            self.stats.prompt_tokens += length;
            self.stats.saved_tokens += reused;
        }
        QuerySpan {
            slot,
            start: reused as i64,
            length: (length - reused) as i64,
        }
    }

    /// Decides about the first request in the queue, after `joined` others got slots. Changes
    /// nothing.
    fn decide(&self, queued: &QueuedRequest, joined: usize) -> JoinDecision {
        let request = &queued.request;
        if request.listener.gone() {
            return JoinDecision::Leave;
        }
        let is_scored = request.options.prompt_logprobs;
        if request.sampling.max_tokens == 0 && !is_scored {
            return JoinDecision::Empty;
        }
        if is_scored {
            let joins = self.may_score(request.prompt.len()) && self.has_room(queued);
            return if joins {
                JoinDecision::Join
            } else {
                JoinDecision::Wait
            };
        }
        let known = self.prefixes.longest(request.adapted());
        let new = &self.running[self.running.len() - joined..];
        let is_spared = new
            .iter()
            .filter(|other| !other.request.options.prompt_logprobs)
            .filter(|other| other.request.options.adapter == request.options.adapter)
            .any(|other| prefix::worth(&other.request.prompt, &request.prompt) > known);
        if is_spared || !self.has_room(queued) {
            return JoinDecision::Wait;
        }
        JoinDecision::Join
    }

    /// Computes the spans of all requests that joined in one forward pass, which reads the weights
    /// once. Returns the hidden features of each one's last token, `[n, d]`.
    fn prefill(&mut self, joined: &[QuerySpan]) -> Tensor {
        let tokens: Vec<i64> = joined
            .iter()
            .flat_map(|new| self.running[new.slot as usize].tokens_from(new.start as usize))
            .collect();
        let mut last = Vec::new();
        for new in joined {
            last.push(last.last().copied().unwrap_or(-1) + new.length);
        }
        let mut upload = Upload::default();
        let parts = [&tokens, &last].map(|numbers| upload.add(numbers));
        let (mut pass, uploaded) = ForwardPass::prefill(&mut self.cache, joined, upload, self.device);
        let [tokens_t, last_n] = parts.map(|part| uploaded.view(part, Kind::Int64));
        let adapter = |new: &QuerySpan| self.running[new.slot as usize].request.options.adapter;
        let runs: Vec<(Option<usize>, i64)> = joined.iter().map(|new| (adapter(new), new.length)).collect();
        let routed = adapters::route(&runs, self.device);
        let hidden_1td = self.model.forward(&tokens_t.unsqueeze(0), &mut pass);
        drop(routed);
        for new in joined {
            let request = &self.running[new.slot as usize].request;
            // Prompts that are scored are seldom asked again, and many of them share a prefix that
            // none of them used.
            if !request.options.prompt_logprobs {
                self.prefixes
                    .offer(request.adapted(), new.start as usize, &mut self.cache, new.slot);
            }
        }
        let hidden_td = hidden_1td.squeeze_dim(0);
        self.keep_hidden(&hidden_td, joined);
        hidden_td.index_select(0, &last_n)
    }

    /// Advances the first `count` requests by their last token, which is that of the step `before`
    /// where the host has not read it. Sends `upload` too. Returns their hidden features, `[b, d]`.
    fn decode(&mut self, count: usize, before: Option<StepBefore>, mut upload: Upload) -> (Tensor, Uploaded) {
        let longest = self.running[..count].iter().map(|r| r.cached).max().unwrap_or(0);
        self.reserve(count as i64, longest + 1);
        let rows = &mut self.running[..count];
        let last = match before {
            Some(before) => upload.add(&before.rows()),
            None => upload.add(&rows.iter().map(|r| r.last).collect::<Vec<_>>()),
        };
        let starts: Vec<i64> = rows.iter().map(|r| r.cached).collect();
        let runs: Vec<(Option<usize>, i64)> = rows.iter().map(|r| (r.request.options.adapter, 1)).collect();
        rows.iter_mut().for_each(|r| r.cached += 1);
        let (mut pass, uploaded) = ForwardPass::decode(&mut self.cache, &starts, upload, self.device);
        let last_b = uploaded.view(last, Kind::Int64);
        let tokens_b = before.map_or_else(|| last_b.shallow_clone(), |before| before.inputs(&last_b));
        let routed = adapters::route(&runs, self.device);
        let hidden_btd = self.model.forward(&tokens_b.unsqueeze(1), &mut pass);
        drop(routed);
        (hidden_btd.select(1, 0), uploaded)
    }

    /// Passes each request its token, and releases those that end with it. Not part of
    /// [`Engine::advance`], so that statistics count an end before its listener learns of it.
    pub fn deliver(&mut self) {
        self.is_delivering = true;
        for (row, logprobs) in self.logprobs.drain(..) {
            let request = &mut self.running[row].request;
            if request.sampling.max_tokens > 0 {
                request.listener.logprobs(logprobs);
            }
        }
        let context = self.model.info().context;
        let mut ended = Vec::new();
        for (row, token) in self.chosen.drain(..) {
            let running = &mut self.running[row];
            let Some(token) = token else {
                running.request.listener.failed(NO_NUMBERS.to_string());
                // NaN would spread to the next request in this slot, even from masked positions.
                self.cache.wipe(row as i64);
                ended.push(row);
                continue;
            };
            // A request that is all prompt: every step chooses a token for everybody.
            if running.request.sampling.max_tokens == 0 {
                running.request.listener.done(FinishReason::Length, 0);
                ended.push(row);
                continue;
            }
            running.last = token;
            running.answer.push(token);
            running.generated += 1;
            running.seen.generated(token);
            let progress = running.constraint.as_mut().map(|it| it.take(token));
            let request = &mut running.request;
            if let Some(Err(reason)) = progress {
                request
                    .listener
                    .failed(format!("the answer cannot keep its format: {reason}"));
                ended.push(row);
                continue;
            }
            let reason = if request.ends_with(token)
                || !request.listener.token(token)
                || progress == Some(Ok(Progress::Complete))
            {
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
        // From the back, so that a request that moves into a gap is one that goes on.
        ended.into_iter().rev().for_each(|row| self.release(row));
        if self.running.is_empty() {
            self.enqueued = None;
        }
        self.is_delivering = false;
    }

    /// Releases requests whose answers nobody waits for.
    fn release_abandoned(&mut self) {
        for row in (0..self.running.len()).rev() {
            if self.running[row].request.listener.gone() {
                self.release(row);
            }
        }
    }

    /// Ends a request.
    fn release(&mut self, row: usize) {
        self.take_out(row);
        self.stats.finished += 1;
    }

    /// Frees a slot, and moves the last request into it. Returns the request that had it.
    fn take_out(&mut self, row: usize) -> RunningRequest {
        let last = self.running.len() - 1;
        self.cache
            .vacate(row as i64, last as i64, self.running[last].cached);
        self.running.swap_remove(row)
    }
}
