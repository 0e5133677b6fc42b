//! A request to continue a prompt, from the queue to its end.

use ewe::backend::{FinishReason, Sampling};

use super::super::dispatch::{Job, Way};
use super::super::grammar::Grammar;
use super::super::grammar::constraint::Constraint;
use super::super::logprobs::Logprobs;
use super::super::prefix::AdaptedPrompt;
use super::super::sampler::{SamplerRow, SeenTokens, penalises};

/// Receives the logprobs of a prompt, see [`RequestOptions::prompt_logprobs`].
pub trait PromptListener: Send {
    /// Takes the logprobs of the next tokens, from the second of the prompt on: nothing precedes
    /// the first.
    fn logprobs(&mut self, of: Vec<Logprobs>);

    /// Takes the end: all tokens have been passed on.
    fn done(&mut self);

    /// Takes the reason why there are no logprobs.
    fn failed(&mut self, reason: String);

    /// Takes the reason why the model stopped before it had all of them.
    fn stopped(&mut self, reason: &str) {
        self.failed(reason.to_owned());
    }

    /// Forgets what came so far: another engine begins again.
    fn again(&mut self);

    /// Whether nobody waits for them any more.
    fn gone(&self) -> bool;
}

/// Receives the tokens of a request.
pub trait Listener: Send {
    /// Returns who takes the logprobs of the prompt, of a request that asks for them. Called once,
    /// when the prompt has been computed. They may come before or after any token of the answer, or
    /// its end.
    fn prompt(&mut self) -> Option<Box<dyn PromptListener>> {
        None
    }

    /// Takes the logprobs of the next token, if the request asks for them. Precedes
    /// [`Listener::token`].
    fn logprobs(&mut self, _: Logprobs) {}

    /// Takes a token; the end-of-text token is not passed on. Returns false to end the request, for
    /// instance at a stop string.
    fn token(&mut self, id: i64) -> bool;

    /// Takes the end of the request, after `tokens` tokens.
    fn done(&mut self, reason: FinishReason, tokens: usize);

    /// Takes the reason why the request cannot go on.
    fn failed(&mut self, reason: String);

    /// Takes the reason why the model stopped before the end of the request.
    fn stopped(&mut self, reason: &str) {
        self.failed(reason.to_owned());
    }

    /// Takes the reason why the request gave way to others. The same request may succeed later.
    fn shed(&mut self, reason: String) {
        self.failed(reason);
    }

    /// Whether nobody waits for the answer any more.
    fn gone(&self) -> bool;
}

/// Options of a request besides [`Sampling`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RequestOptions {
    /// Report the logprob of each token, and those of this many of the likeliest tokens.
    pub logprobs: Option<usize>,
    /// Report those of the prompt's tokens, too, to [`Listener::prompt`]. Then `max_tokens` may be
    /// 0.
    pub prompt_logprobs: bool,
    /// End tokens and stop strings are ignored before this many tokens.
    pub min_tokens: usize,
    /// The repetition penalty considers this many of the last tokens, prompt included; all if none.
    pub repetition_window: Option<usize>,
    /// What is added to the scores of these tokens, before anything else.
    pub bias: Vec<(i64, f32)>,
    /// Further tokens that end the text, whether end tokens are ignored or not.
    pub stop_tokens: Vec<i64>,
    /// Special tokens that stand in the text, which is without them otherwise.
    pub shown: Vec<i64>,
    /// What the answer is held to. It ends where nothing may follow, whatever `min_tokens` is.
    pub grammar: Option<Grammar>,
    /// The adapter that the model answers with, by its place among those that were loaded; none for
    /// the model alone.
    pub adapter: Option<usize>,
}

/// A prompt to continue.
pub struct EngineRequest {
    /// Token ids: at least one, fewer than the model's context.
    pub prompt: Vec<i64>,
    /// How tokens are chosen. Stop strings are left to the listener.
    pub sampling: Sampling,
    /// Tokens that end the text.
    pub end_tokens: Vec<i64>,
    /// Further options.
    pub options: RequestOptions,
    /// Receives the tokens.
    pub listener: Box<dyn Listener>,
    /// How far it has come with an engine that failed; nothing for a new request.
    pub begun: Begun,
}

/// How far a request has come with another engine, before that failed.
#[derive(Default)]
pub struct Begun {
    /// Which engines had it.
    pub way: Way,
    /// Tokens generated; they are prefilled with the prompt.
    pub(super) answer: Vec<i64>,
    /// What it is held to, behind these tokens; none before it began.
    pub(super) constraint: Option<Constraint>,
    /// Whether it has had a slot, and its prompt was counted.
    pub(super) has_run: bool,
}

impl Job for EngineRequest {
    fn prompt(&self) -> AdaptedPrompt<'_> {
        self.adapted()
    }

    fn gone(&self) -> bool {
        self.listener.gone()
    }

    fn way(&mut self) -> &mut Way {
        &mut self.begun.way
    }

    fn stopped(mut self, reason: &str) {
        self.listener.stopped(reason);
    }
}

impl EngineRequest {
    /// Returns the prompt with its adapter.
    pub(super) fn adapted(&self) -> AdaptedPrompt<'_> {
        AdaptedPrompt {
            tokens: &self.prompt,
            adapter: self.options.adapter,
        }
    }

    /// Whether a token ends the text, of which it is no part.
    pub(super) fn ends_with(&self, token: i64) -> bool {
        let is_end = !self.sampling.ignore_eos || self.options.grammar.is_some();
        (is_end && self.end_tokens.contains(&token)) || self.options.stop_tokens.contains(&token)
    }
}

/// A request without a slot.
pub(super) struct QueuedRequest {
    pub(super) request: EngineRequest,
    /// The most tokens that it can occupy in the KV cache.
    pub(super) most: i64,
    /// How many requests were submitted before it.
    pub(super) arrival: u64,
    /// Whether it has had a slot before, and lost it because memory ran out.
    pub(super) preempted: bool,
    /// Tokens generated before that; they are prefilled with the prompt.
    pub(super) answer: Vec<i64>,
    /// What it is held to, behind these tokens.
    pub(super) constraint: Option<Constraint>,
}

impl QueuedRequest {
    /// Returns how many tokens are to be prefilled.
    pub(super) fn length(&self) -> usize {
        self.request.prompt.len() + self.answer.len()
    }

    /// Takes it out of this engine's queue, for another one.
    pub(super) fn for_another(self) -> EngineRequest {
        let mut request = self.request;
        request.begun.answer = self.answer;
        request.begun.constraint = self.constraint;
        request.begun.has_run = self.preempted;
        request
    }
}

/// A request with a slot.
pub(super) struct RunningRequest {
    pub(super) request: EngineRequest,
    /// The most tokens that it can occupy in the KV cache.
    pub(super) most: i64,
    /// How many requests were submitted before it.
    pub(super) arrival: u64,
    /// Tokens generated so far.
    pub(super) answer: Vec<i64>,
    pub(super) seen: SeenTokens,
    /// What it is held to, behind the answer so far.
    pub(super) constraint: Option<Constraint>,
    /// Tokens in the KV cache.
    pub(super) cached: i64,
    /// The last token, input of the next decode step.
    pub(super) last: i64,
    pub(super) generated: usize,
    /// Whether the host had to choose its last token, as it may have to choose the next.
    pub(super) left_to_host: bool,
}

impl RunningRequest {
    /// Gives a request a slot, whose keys and values are about to be computed.
    pub(super) fn of(queued: QueuedRequest) -> RunningRequest {
        let (length, request) = (queued.length(), queued.request);
        let mut seen = SeenTokens::of_prompt(&request.prompt, request.options.repetition_window);
        queued.answer.iter().for_each(|&token| seen.generated(token));
        RunningRequest {
            seen,
            most: queued.most,
            arrival: queued.arrival,
            cached: length as i64,
            last: 0,
            generated: queued.answer.len(),
            left_to_host: false,
            answer: queued.answer,
            constraint: queued.constraint,
            request,
        }
    }

    /// Takes the slot away. The answer goes on once the request has a slot again.
    pub(super) fn preempted(self) -> QueuedRequest {
        QueuedRequest {
            request: self.request,
            most: self.most,
            arrival: self.arrival,
            preempted: true,
            answer: self.answer,
            constraint: self.constraint,
        }
    }

    /// Iterates over the tokens of prompt and answer from position `start` of the prompt on.
    pub(super) fn tokens_from(&self, start: usize) -> impl Iterator<Item = i64> {
        self.request.prompt[start..].iter().chain(&self.answer).copied()
    }

    /// Returns the request as the sampler takes it for the token behind the next `ahead`, which the
    /// host does not know.
    pub(super) fn row(&self, ahead: usize) -> SamplerRow<'_> {
        let request = &self.request;
        let index = self.generated + ahead;
        let may_end = index >= request.options.min_tokens || request.sampling.ignore_eos;
        SamplerRow {
            sampling: &request.sampling,
            seen: &self.seen,
            index,
            forbidden: if may_end { &[] } else { &request.end_tokens },
        }
    }

    /// Whether a token can be chosen before the host knows the one before it.
    pub(super) fn may_run_ahead(&self) -> bool {
        let is_counted = self.seen.counts_on_device() || !penalises(&self.request.sampling);
        // What may come next depends on the token before it.
        is_counted && !self.left_to_host && self.constraint.is_none()
    }

    /// Whether the answer ends with the next `ahead` tokens, whatever they are.
    pub(super) fn is_last(&self, ahead: usize, context: usize) -> bool {
        let tokens = self.generated + ahead;
        tokens >= self.request.sampling.max_tokens || self.request.prompt.len() + tokens >= context
    }
}
