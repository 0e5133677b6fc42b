//! One answer that is held to a grammar: which tokens may come next, computed beside the model.
//!
//! Shapes: `v` vocabulary.

use std::sync::mpsc::{Receiver, sync_channel};

use llguidance::Matcher;
use llguidance::toktrie::SimpleVob;
use tch::{Device, Tensor};

/// The tokens that may come next.
pub struct TokenMask {
    /// Of each token, whether it is ruled out.
    forbidden: Vec<bool>,
}

/// What follows a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The answer goes on.
    GoesOn,
    /// Nothing may follow: the answer is complete.
    Complete,
}

/// The state of an answer. The tokens that may come next are computed on a thread of `rayon`, from
/// the moment the token before them is known: while the model computes their scores.
pub struct Constraint {
    state: State,
}

enum State {
    /// Another thread computes.
    Pending(Receiver<Computed>),
    /// The mask is there.
    Ready(Computed),
    /// The other thread is gone without a result.
    Lost,
}

/// The position of the answer, and what may come next.
struct Computed {
    matcher: Box<Matcher>,
    mask: Result<TokenMask, String>,
}

impl Constraint {
    /// Begins where `matcher` is.
    pub(super) fn of(matcher: Matcher) -> Constraint {
        Constraint::after(Box::new(matcher))
    }

    fn after(mut matcher: Box<Matcher>) -> Constraint {
        let (sender, receiver) = sync_channel(1);
        rayon::spawn(move || {
            // The library catches its own panics.
            let mask = matcher.compute_mask_or_eos();
            let mask = mask.map_err(|error| error.to_string()).and_then(usable);
            // Nobody may wait any more.
            let _ = sender.send(Computed { matcher, mask });
        });
        Constraint {
            state: State::Pending(receiver),
        }
    }

    /// Waits for the mask.
    fn wait(&mut self) {
        if let State::Pending(receiver) = &self.state {
            self.state = receiver.recv().map_or(State::Lost, State::Ready);
        }
    }

    /// Returns which tokens may come next, once that is computed; none if it cannot be, and then
    /// [`Constraint::take`] says why.
    pub fn mask(&mut self) -> Option<&TokenMask> {
        self.wait();
        match &self.state {
            State::Ready(computed) => computed.mask.as_ref().ok(),
            _ => None,
        }
    }

    /// Takes the next token of the answer.
    ///
    /// # Errors
    ///
    /// Why the answer cannot go on: no token of the vocabulary fits, or following the grammar would
    /// take too long.
    pub fn take(&mut self, token: i64) -> Result<Progress, String> {
        self.wait();
        let State::Ready(Computed { mut matcher, mask }) = std::mem::replace(&mut self.state, State::Lost)
        else {
            return Err("the thread that follows the grammar ended".to_owned());
        };
        mask?;
        let id = u32::try_from(token).map_err(|_| format!("there is no token {token}"))?;
        matcher.consume_token(id).map_err(|error| {
            let error = error.to_string();
            error.lines().next().unwrap_or_default().to_owned()
        })?;
        if matcher.is_stopped() {
            return match matcher.get_error() {
                Some(error) => Err(error),
                None => Ok(Progress::Complete),
            };
        }
        *self = Constraint::after(matcher);
        Ok(Progress::GoesOn)
    }
}

/// Writes a mask as the model's thread needs it, which would wait for that otherwise. Fails on one
/// without a token.
fn usable(bits: SimpleVob) -> Result<TokenMask, String> {
    if bits.num_set() == 0 {
        return Err("no token of the vocabulary fits what may come next".to_owned());
    }
    let mut forbidden = vec![true; bits.len()];
    bits.iter_set_entries(|id| {
        if let Some(place) = forbidden.get_mut(id) {
            *place = false;
        }
    });
    Ok(TokenMask { forbidden })
}

impl TokenMask {
    /// Whether a token may come.
    #[cfg(test)]
    pub fn allows(&self, token: i64) -> bool {
        usize::try_from(token).is_ok_and(|id| self.forbidden.get(id) == Some(&false))
    }

    /// Sets the scores of all other tokens to -inf. `logits_v` may have more tokens than the mask,
    /// which cannot come.
    pub fn apply(&self, logits_v: &Tensor) {
        let count = logits_v.size()[0];
        let known = (self.forbidden.len() as i64).min(count);
        let mut forbidden_v = Tensor::from_slice(&self.forbidden[..known as usize]);
        if logits_v.device() != Device::Cpu {
            forbidden_v = forbidden_v.to_device(logits_v.device());
        }
        // Views of the caller's scores, which change.
        let _ = logits_v
            .narrow(0, 0, known)
            .masked_fill_(&forbidden_v, f64::NEG_INFINITY);
        if known < count {
            let _ = logits_v.narrow(0, known, count - known).fill_(f64::NEG_INFINITY);
        }
    }
}
