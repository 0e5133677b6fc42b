//! The answer to one request, as a stream of events: [`AnswerStream`] receives them, and
//! [`AnswerSender`] sends them from the engine's thread, with [`PromptSender`] for the logprobs of
//! its prompt.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use ewe::backend::{BackendError, Completion, FinishReason};
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::{Stream, StreamExt};

use super::batch::{Listener, PromptListener};
use super::event::{Event, EventResult};
use super::logprobs::Logprobs;
use super::state::{Orphans, stopped};
use super::text::TextStream;

/// An answer as it is generated. Yields one error, then ends, if the request or the model fails.
pub struct AnswerStream {
    events: UnboundedReceiver<EventResult>,
    prompt_tokens: usize,
    orphans: Arc<Orphans>,
    ended: bool,
    /// Whether the logprobs of the prompt are still to come.
    awaits_prompt: bool,
    /// What came before them.
    held: VecDeque<Event>,
}

impl AnswerStream {
    /// Returns the answer to a prompt of `prompt_tokens` tokens, whose logprobs are to come if
    /// `awaits_prompt`, and its sender.
    pub(super) fn pair(
        prompt_tokens: usize,
        awaits_prompt: bool,
        text: TextStream,
        orphans: &Arc<Orphans>,
    ) -> (AnswerStream, AnswerSender) {
        let (sender, events) = unbounded();
        let answer = AnswerStream {
            events,
            prompt_tokens,
            orphans: orphans.clone(),
            ended: false,
            awaits_prompt,
            held: VecDeque::new(),
        };
        let sender = AnswerSender {
            text,
            events: sender,
            orphans: orphans.clone(),
            has_ended: false,
        };
        (answer, sender)
    }

    /// Waits for the whole answer.
    pub async fn completion(self) -> Result<Completion, BackendError> {
        self.completion_with(&mut |_| ()).await
    }

    /// As [`AnswerStream::completion`], and shows the logprobs of each token, if they are asked
    /// for.
    pub async fn completion_with(
        mut self,
        show: &mut (dyn FnMut(Logprobs) + Send),
    ) -> Result<Completion, BackendError> {
        let mut text = String::new();
        while let Some(event) = self.next().await {
            match event? {
                Event::Text(more) => text.push_str(&more),
                Event::Token { logprobs, .. } => show(logprobs),
                Event::Prompt(_) => {}
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
                        places: None,
                        prompt_tokens,
                        completion_tokens,
                    });
                }
            }
        }
        Err(self.orphans.fatal())
    }
}

impl Stream for AnswerStream {
    type Item = EventResult;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Option<EventResult>> {
        if self.ended {
            return Poll::Ready(None);
        }
        loop {
            let held = match self.awaits_prompt {
                true => None,
                false => self.held.pop_front(),
            };
            let event = match held {
                Some(event) => Some(Ok(event)),
                None => futures::ready!(self.events.poll_next_unpin(task)),
            };
            match event {
                Some(Ok(Event::Prompt(_))) => self.awaits_prompt = false,
                Some(Ok(event)) if self.awaits_prompt => {
                    self.held.push_back(event);
                    continue;
                }
                _ => {}
            }
            self.ended = matches!(event, None | Some(Err(_) | Ok(Event::Done { .. })));
            return Poll::Ready(Some(event.unwrap_or_else(|| Err(self.orphans.fatal()))));
        }
    }
}

/// Turns tokens into events. If a failed step drops it before the end, its answer becomes an orphan
/// of its engine.
pub(super) struct AnswerSender {
    text: TextStream,
    events: UnboundedSender<EventResult>,
    orphans: Arc<Orphans>,
    /// Whether the last event was sent.
    has_ended: bool,
}

impl AnswerSender {
    fn send(&self, event: Event) {
        // A receiver that is gone is noticed by `gone`.
        let _ = self.events.unbounded_send(Ok(event));
    }

    fn send_text(&self, text: String) {
        if !text.is_empty() {
            self.send(Event::Text(text));
        }
    }
}

impl Listener for AnswerSender {
    fn prompt(&mut self) -> Option<Box<dyn PromptListener>> {
        Some(Box::new(PromptSender {
            logprobs: Vec::new(),
            events: self.events.clone(),
            orphans: self.orphans.clone(),
            has_ended: false,
        }))
    }

    fn logprobs(&mut self, logprobs: Logprobs) {
        let offset = self.text.characters();
        self.send(Event::Token { logprobs, offset });
    }

    fn token(&mut self, id: i64) -> bool {
        let text = self.text.push(id).unwrap_or_default();
        self.send_text(text);
        !self.text.stopped()
    }

    fn done(&mut self, finish_reason: FinishReason, completion_tokens: usize) {
        let text = self.text.finish().unwrap_or_default();
        self.send_text(text);
        // Held-back text may complete a stop string only now.
        let finish_reason = if self.text.stopped() {
            FinishReason::Stop
        } else {
            finish_reason
        };
        self.send(Event::Done {
            finish_reason,
            completion_tokens,
        });
        self.has_ended = true;
    }

    fn failed(&mut self, reason: String) {
        let _ = self.events.unbounded_send(Err(BackendError::Request(reason)));
        self.has_ended = true;
    }

    fn stopped(&mut self, reason: &str) {
        let _ = self.events.unbounded_send(Err(stopped(reason)));
        self.has_ended = true;
    }

    fn shed(&mut self, reason: String) {
        let _ = self.events.unbounded_send(Err(BackendError::Overloaded(reason)));
        self.has_ended = true;
    }

    fn gone(&self) -> bool {
        self.events.is_closed()
    }
}

impl Drop for AnswerSender {
    fn drop(&mut self) {
        if !self.has_ended && !self.events.is_closed() {
            self.orphans.add(self.events.clone());
        }
    }
}

/// Collects the logprobs of a prompt. Dropped before the end, it ends the answer as
/// [`AnswerSender`] does.
struct PromptSender {
    logprobs: Vec<Logprobs>,
    events: UnboundedSender<EventResult>,
    orphans: Arc<Orphans>,
    /// Whether they were sent.
    has_ended: bool,
}

impl PromptListener for PromptSender {
    fn logprobs(&mut self, of: Vec<Logprobs>) {
        self.logprobs.extend(of);
    }

    fn done(&mut self) {
        let logprobs = std::mem::take(&mut self.logprobs);
        let _ = self.events.unbounded_send(Ok(Event::Prompt(logprobs)));
        self.has_ended = true;
    }

    fn failed(&mut self, reason: String) {
        let _ = self.events.unbounded_send(Err(BackendError::Request(reason)));
        self.has_ended = true;
    }

    fn stopped(&mut self, reason: &str) {
        let _ = self.events.unbounded_send(Err(stopped(reason)));
        self.has_ended = true;
    }

    fn again(&mut self) {
        self.logprobs.clear();
    }

    fn gone(&self) -> bool {
        self.events.is_closed()
    }
}

impl Drop for PromptSender {
    fn drop(&mut self) {
        if !self.has_ended && !self.events.is_closed() {
            self.orphans.add(self.events.clone());
        }
    }
}
