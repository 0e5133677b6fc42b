//! A request to continue a prompt, on its way from the queue to its end.

use ewe::backend::{FinishReason, Sampling};

use super::super::logprobs::Logprobs;
use super::super::sampler::Seen;

/// What happens to a request's tokens.
pub trait Listener: Send {
    /// Hears how likely the token was that comes next, if the request asks for it.
    fn logprobs(&mut self, _: Logprobs) {}

    /// Takes a token, the end-of-text token excepted. False ends the request, say at a stop string.
    fn token(&mut self, id: i64) -> bool;

    /// The request has ended after `tokens` tokens.
    fn done(&mut self, reason: FinishReason, tokens: usize);

    /// The request cannot go on, for this reason.
    fn failed(&mut self, reason: String);

    /// Whether nobody waits for it any more.
    fn gone(&self) -> bool;
}

/// What may be wanted of a request besides [`Sampling`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wants {
    /// For each token, tell how likely it was, and so many of the likeliest.
    pub logprobs: Option<usize>,
    /// The text does not end before so many tokens, but for the lack of room.
    pub min_tokens: usize,
    /// The repetition penalty looks at so many of the last tokens, those of the prompt among them; at all where there is none.
    pub repetition_window: Option<usize>,
}

/// A prompt to continue.
pub struct Request {
    /// Token ids: at least one, fewer than the model's context.
    pub prompt: Vec<i64>,
    /// How to choose; stop strings are the listener's.
    pub sampling: Sampling,
    /// Any of these ends the text.
    pub end_tokens: Vec<i64>,
    /// What else is wanted.
    pub wants: Wants,
    /// Who takes the tokens.
    pub listener: Box<dyn Listener>,
}

/// A request that has no slot yet.
pub(super) struct Waiting {
    pub(super) request: Request,
    /// The most tokens it can come to occupy.
    pub(super) most: i64,
}

/// A request that has a slot.
pub(super) struct Running {
    pub(super) request: Request,
    /// The most tokens it can come to occupy.
    pub(super) most: i64,
    pub(super) seen: Seen,
    /// Tokens in the cache.
    pub(super) cached: i64,
    /// The token to go on from.
    pub(super) last: i64,
    pub(super) generated: usize,
}

impl Running {
    /// Tokens that must not come next: those that would end the text too early.
    pub(super) fn forbidden(&self) -> &[i64] {
        let request = &self.request;
        if self.generated < request.wants.min_tokens && !request.sampling.ignore_eos {
            &request.end_tokens
        } else {
            &[]
        }
    }
}
