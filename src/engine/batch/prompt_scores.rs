//! Logprobs of the tokens of prompts. Prefill leaves the hidden features behind; the output head
//! is applied to them a few positions at a time, before each step, so that running requests go on
//! beside a long prompt and its logits are never all there at once.
//!
//! Shapes: `t` tokens of a prompt, `n` positions of one part, `d` hidden features, `v` vocabulary.

use ewe::backend::{FinishReason, Sampling};
use tch::Tensor;

use super::request::{Begun, EngineRequest, Listener, PromptListener, RequestOptions};
use super::{Engine, NO_NUMBERS};
use crate::engine::logprobs::{Logprobs, RawLogprobs};
use crate::model::layers::attention::QuerySpan;
use crate::model::out_of_memory::Stage;

/// The most logits of one part: 64 MiB of fp32. Tests have some ten tokens in each.
const PART: i64 = if cfg!(test) { 1 << 10 } else { 16 << 20 };

/// A prompt whose logprobs are being computed. It needs no slot any more.
pub(super) struct PromptScores {
    prompt: Vec<i64>,
    /// The hidden features of all of its tokens but the last, `[t - 1, d]`.
    hidden_td: Tensor,
    /// How many rows of `hidden_td` are done.
    done: usize,
    likeliest: usize,
    adapter: Option<usize>,
    /// Engines that failed with it, as in [`Way`](crate::engine::dispatch::Way).
    tried: u64,
    listener: Box<dyn PromptListener>,
}

impl PromptScores {
    /// Returns how many tokens are left.
    pub(super) fn left(&self) -> usize {
        self.prompt.len() - 1 - self.done
    }

    /// Passes on the logprobs of the next tokens. Returns whether there are more.
    fn take(&mut self, logprobs: Vec<Logprobs>) -> bool {
        self.done += logprobs.len();
        if logprobs.iter().any(|of| of.chosen.logprob.is_nan()) {
            self.listener.failed(NO_NUMBERS.to_string());
            return false;
        }
        self.listener.logprobs(logprobs);
        if self.left() == 0 {
            self.listener.done();
            return false;
        }
        true
    }

    /// Returns a request for it to another engine. The tensor is leaked where it cannot be freed in
    /// an orderly way, see [`Engine::abandon`].
    pub(super) fn for_another(mut self, leaks: bool) -> EngineRequest {
        if leaks {
            std::mem::forget(self.hidden_td);
        }
        self.listener.again();
        let mut request = EngineRequest {
            prompt: self.prompt,
            sampling: Sampling {
                max_tokens: 0,
                ..Sampling::default()
            },
            end_tokens: Vec::new(),
            options: RequestOptions {
                logprobs: Some(self.likeliest),
                prompt_logprobs: true,
                adapter: self.adapter,
                ..RequestOptions::default()
            },
            listener: Box::new(ScoresOnly(Some(self.listener))),
            begun: Begun::default(),
        };
        request.begun.has_run = true;
        request.begun.way.tried = self.tried;
        request
    }
}

/// Listens for the logprobs of a prompt, whose answer has another listener or has ended. None once
/// they are being computed.
struct ScoresOnly(Option<Box<dyn PromptListener>>);

impl Listener for ScoresOnly {
    fn prompt(&mut self) -> Option<Box<dyn PromptListener>> {
        self.0.take()
    }

    fn token(&mut self, _: i64) -> bool {
        true
    }

    fn done(&mut self, _: FinishReason, _: usize) {}

    fn failed(&mut self, reason: String) {
        if let Some(listener) = &mut self.0 {
            listener.failed(reason);
        }
    }

    fn stopped(&mut self, reason: &str) {
        if let Some(listener) = &mut self.0 {
            listener.stopped(reason);
        }
    }

    fn gone(&self) -> bool {
        self.0.as_ref().is_some_and(|listener| listener.gone())
    }
}

impl Engine {
    /// Returns how many tokens of prompts are to be scored, those of prompts that join now
    /// included.
    fn unscored(&self) -> usize {
        let joining = self.running.iter().filter(|r| r.request.options.prompt_logprobs);
        let joining = joining.map(|running| running.request.prompt.len());
        self.scores.iter().map(PromptScores::left).chain(joining).sum()
    }

    /// Whether the hidden features of a prompt of `tokens` tokens may be kept beside those that
    /// are: of no more tokens than one prefill, or of one prompt.
    pub(super) fn may_score(&self, tokens: usize) -> bool {
        let unscored = self.unscored();
        unscored == 0 || unscored.saturating_add(tokens) <= self.config.prefill_tokens
    }

    /// Keeps the hidden features of the prompts to be scored, of those that have just been
    /// computed: `hidden_td` are their tokens, one behind the other.
    pub(super) fn keep_hidden(&mut self, hidden_td: &Tensor, joined: &[QuerySpan]) {
        let mut start = 0;
        for new in joined {
            let request = &mut self.running[new.slot as usize].request;
            // Once: a request that is preempted is prefilled again.
            if std::mem::take(&mut request.options.prompt_logprobs)
                && let Some(listener) = request.listener.prompt()
            {
                let scored = request.prompt.len() as i64 - 1;
                self.scores.push_back(PromptScores {
                    prompt: request.prompt.clone(),
                    hidden_td: hidden_td.narrow(0, start, scored).copy(),
                    done: 0,
                    likeliest: request.options.logprobs.unwrap_or(0),
                    adapter: request.options.adapter,
                    tried: request.begun.way.tried,
                    listener,
                });
            }
            start += new.length;
        }
    }

    /// Computes the logprobs of some tokens of prompts, in order of arrival.
    pub(super) fn score_prompts(&mut self) {
        self.scores.retain(|scores| !scores.listener.gone());
        if self.scores.is_empty() {
            return;
        }
        self.stage = Stage::Prefill;
        let most = (PART / self.model.info().vocab.max(1)).max(1) as usize;
        let (mut hidden, mut tokens, mut likeliest, mut counts) = (vec![], vec![], vec![], vec![]);
        for scores in &self.scores {
            let count = scores.left().min(most - tokens.len());
            hidden.push(scores.hidden_td.narrow(0, scores.done as i64, count as i64));
            // The hidden features at i predict the token at i + 1.
            let next = &scores.prompt[scores.done + 1..][..count];
            tokens.extend(next.iter().map(|&token| Some(token)));
            likeliest.extend(std::iter::repeat_n(Some(scores.likeliest), count));
            counts.push(count);
            if tokens.len() == most {
                break;
            }
        }
        let mut logprobs = Vec::new();
        if !tokens.is_empty() {
            let logits_nv = self.model.logits(&Tensor::cat(&hidden, 0));
            let raw = RawLogprobs::of(&logits_nv, likeliest.into_iter());
            logprobs = raw.map_or_else(Vec::new, |raw| raw.of_tokens(&tokens));
        }
        let mut logprobs = logprobs.into_iter().map(|(_, logprobs)| logprobs);
        let mut counts = counts.into_iter();
        self.scores.retain_mut(|scores| match counts.next() {
            Some(count) => scores.take(logprobs.by_ref().take(count).collect()),
            None => true,
        });
    }
}
