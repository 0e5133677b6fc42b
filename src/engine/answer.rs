//! What comes back from the engine's thread: one [`Answer`] a request, as a stream of [`Event`]s.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};

use ewe::backend::{BackendError, Completion, FinishReason};
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::{Stream, StreamExt};

use super::batch::Listener;
use super::logprobs::Logprobs;
use super::text::TextStream;
use super::worker::Shared;

/// What an [`Answer`] yields: any number of texts, then one end.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// More text; pieces join to the whole.
    Text(String),
    /// A token and how likely it was, where that was asked for: before the text that it completes. Tokens that end a
    /// text are not among them; those of a stop string are.
    Token {
        /// How likely.
        logprobs: Logprobs,
        /// Where it begins, in characters of the text; beyond the whole text if it belongs to a stop string.
        offset: usize,
    },
    /// The answer is complete.
    Done {
        /// Why it ended.
        finish_reason: FinishReason,
        /// Tokens generated, as in [`Completion`].
        completion_tokens: usize,
    },
}

type Told = Result<Event, BackendError>;

/// One answer, as it comes. Yields an error once if the request or the model fails meanwhile.
pub struct Answer {
    events: UnboundedReceiver<Told>,
    prompt_tokens: usize,
    shared: Arc<Shared>,
    ended: bool,
}

impl Answer {
    /// An answer to a prompt of so many tokens, and who tells it.
    pub(super) fn pair(prompt_tokens: usize, text: TextStream, shared: &Arc<Shared>) -> (Answer, Teller) {
        let (sender, events) = unbounded();
        let answer = Answer {
            events,
            prompt_tokens,
            shared: shared.clone(),
            ended: false,
        };
        let teller = Teller {
            text,
            events: sender,
            orphans: shared.orphans.clone(),
            told_all: false,
        };
        (answer, teller)
    }

    /// Waits for the whole.
    pub async fn completion(mut self) -> Result<Completion, BackendError> {
        let mut text = String::new();
        while let Some(event) = self.next().await {
            match event? {
                Event::Text(more) => text.push_str(&more),
                Event::Token { .. } => {}
                Event::Done {
                    finish_reason,
                    completion_tokens,
                } => {
                    let prompt_tokens = self.prompt_tokens;
                    return Ok(Completion {
                        text,
                        finish_reason,
                        reasoning: String::new(),
                        refusal: None,
                        prompt_tokens,
                        completion_tokens,
                    });
                }
            }
        }
        Err(self.shared.fatal())
    }
}

impl Stream for Answer {
    type Item = Told;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Option<Told>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let event = futures::ready!(self.events.poll_next_unpin(task));
        self.ended = !matches!(event, Some(Ok(Event::Text(_) | Event::Token { .. })));
        Poll::Ready(Some(event.unwrap_or_else(|| Err(self.shared.fatal()))))
    }
}

/// Requests whose answers nobody ended: the step that they were part of failed. Whoever knows why tells them.
#[derive(Default)]
pub(super) struct Orphans(Mutex<Vec<UnboundedSender<Told>>>);

impl Orphans {
    /// Ends them all.
    pub(super) fn fail(&self, error: impl Fn() -> BackendError) {
        let mut orphans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for events in orphans.drain(..) {
            let _ = events.unbounded_send(Err(error()));
        }
    }
}

/// Turns tokens into events. One that is dropped before the end, as a panic does with whatever a step held, becomes an
/// orphan.
pub(super) struct Teller {
    text: TextStream,
    events: UnboundedSender<Told>,
    orphans: Arc<Orphans>,
    told_all: bool,
}

impl Teller {
    fn tell(&self, event: Event) {
        // Nobody listening is noticed by `gone`.
        let _ = self.events.unbounded_send(Ok(event));
    }

    fn tell_text(&self, text: String) {
        if !text.is_empty() {
            self.tell(Event::Text(text));
        }
    }
}

impl Listener for Teller {
    fn logprobs(&mut self, logprobs: Logprobs) {
        let offset = self.text.characters();
        self.tell(Event::Token { logprobs, offset });
    }

    fn token(&mut self, id: i64) -> bool {
        let text = self.text.push(id).unwrap_or_default();
        self.tell_text(text);
        !self.text.stopped()
    }

    fn done(&mut self, finish_reason: FinishReason, completion_tokens: usize) {
        let text = self.text.finish().unwrap_or_default();
        self.tell_text(text);
        // What was held back may complete a stop string only now.
        let finish_reason = if self.text.stopped() {
            FinishReason::Stop
        } else {
            finish_reason
        };
        self.tell(Event::Done {
            finish_reason,
            completion_tokens,
        });
        self.told_all = true;
    }

    fn failed(&mut self, reason: String) {
        let _ = self.events.unbounded_send(Err(BackendError::Request(reason)));
        self.told_all = true;
    }

    fn gone(&self) -> bool {
        self.events.is_closed()
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        if !self.told_all && !self.events.is_closed() {
            let mut orphans = self.orphans.0.lock().unwrap_or_else(PoisonError::into_inner);
            orphans.push(self.events.clone());
        }
    }
}
