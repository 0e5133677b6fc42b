//! The answers to one request, sent as one JSON object or as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use super::delta::{Delta, Deltas};
use super::error::ApiError;
use super::metrics::RequestMetrics;
use super::server::ServerState;
use super::wire::{ResponseHead, usage};

/// Which answers to each prompt are sent.
#[derive(Debug, Clone, Copy)]
pub struct Selection {
    /// How many are generated.
    pub of: usize,
    /// How many of them are sent, those with the largest mean logprob.
    pub best: usize,
}

impl Selection {
    /// Returns the answers to send: of each prompt, the likeliest first if there is a choice.
    fn chosen(self, answers: Vec<Delta>) -> Vec<Delta> {
        if self.of == self.best {
            return answers;
        }
        let mut answers = answers.into_iter();
        let mut chosen = Vec::new();
        loop {
            let mut candidates: Vec<Delta> = answers.by_ref().take(self.of).collect();
            if candidates.is_empty() {
                return chosen;
            }
            candidates.sort_by(|a, b| mean_logprob(b).total_cmp(&mean_logprob(a)));
            chosen.extend(candidates.into_iter().take(self.best));
        }
    }
}

/// Returns the mean logprob of an answer's tokens; 0 without any.
fn mean_logprob(answer: &Delta) -> f32 {
    let logprobs = answer.tokens.iter().filter_map(|token| token.logprobs.as_ref());
    let (sum, count) = logprobs.fold((0.0, 0.0f32), |(sum, count), of| {
        (sum + of.chosen.logprob, count + 1.0)
    });
    if count > 0.0 { sum / count } else { 0.0 }
}

/// Answers that are being generated. Dropping it cancels them.
pub struct PendingAnswers {
    /// The fields that all parts of the response share.
    pub head: ResponseHead,
    /// Tokens of all prompts together.
    pub prompt_tokens: usize,
    /// How many choices there are.
    pub choices: usize,
    /// Which of them are sent.
    pub selection: Selection,
    /// The deltas of all choices as they come.
    pub deltas: Deltas,
    /// The server that generates them.
    pub server: Arc<ServerState>,
    /// Counts the request.
    pub metrics: Arc<RequestMetrics>,
    /// Their places among the answers that run or wait, until this is dropped.
    pub _permit: OwnedSemaphorePermit,
}

impl PendingAnswers {
    /// Waits for all answers, and returns them as one JSON object.
    pub async fn whole(mut self) -> Result<Response, ApiError> {
        let mut choices = vec![Delta::default(); self.choices];
        while let Some(next) = self.deltas.next().await {
            let (index, delta) = next.map_err(|error| ApiError::midway(&error))?;
            self.metrics.first_token();
            choices[index].append(delta);
        }
        let completion_tokens = choices
            .iter()
            .filter_map(|choice| choice.end)
            .map(|(_, n)| n)
            .sum();
        let bytes = &self.server.token_bytes;
        let choices = self.selection.chosen(choices);
        let whole = choices.iter().enumerate();
        let choices = whole
            .map(|(index, choice)| self.head.choice(index, choice, bytes))
            .collect();
        let answer = self
            .head
            .whole(choices, usage(self.prompt_tokens, completion_tokens));
        Ok(Json(answer).into_response())
    }

    /// Returns a stream of server-sent events. It ends with `[DONE]`, or with an error if an answer
    /// fails. `has_usage` adds the numbers of tokens.
    pub fn stream(self, has_usage: bool) -> Response {
        self.metrics.hand_to_stream();
        let begun = vec![false; self.choices];
        let events = AnswerEvents {
            answers: self,
            begun,
            has_usage,
            completion_tokens: 0,
        };
        let events = stream::unfold(Some(events), |events| async { Some(events?.advance().await) })
            .flat_map(|data| stream::iter(data.into_iter().map(|data| Ok::<_, Infallible>(event(data)))));
        Sse::new(events).keep_alive(KeepAlive::default()).into_response()
    }
}

fn event(data: String) -> Event {
    Event::default().data(data)
}

/// The events of a stream of answers.
struct AnswerEvents {
    answers: PendingAnswers,
    /// For each choice, whether a part of it was sent.
    begun: Vec<bool>,
    has_usage: bool,
    completion_tokens: usize,
}

impl AnswerEvents {
    /// Returns the data of the next events, and the stream unless it has ended.
    async fn advance(mut self) -> (Vec<String>, Option<AnswerEvents>) {
        match self.answers.deltas.next().await {
            Some(Ok((index, delta))) => {
                self.answers.metrics.first_token();
                self.completion_tokens += delta.end.map_or(0, |(_, tokens)| tokens);
                (vec![self.data(index, delta)], Some(self))
            }
            Some(Err(error)) => {
                let refusal = ApiError::midway(&error);
                self.answers.metrics.ended(refusal.status.as_u16());
                (vec![refusal.body().to_string()], None)
            }
            None => {
                self.answers.metrics.ended(200);
                (self.last(), None)
            }
        }
    }

    /// Returns the data of an event with one delta.
    fn data(&mut self, index: usize, delta: Delta) -> String {
        let first = !std::mem::replace(&mut self.begun[index], true);
        let choice = self
            .answers
            .head
            .delta(index, &delta, first, &self.answers.server.token_bytes);
        self.answers.head.chunk(vec![choice], None).to_string()
    }

    /// Returns the data of the last events.
    fn last(&self) -> Vec<String> {
        let usage = || usage(self.answers.prompt_tokens, self.completion_tokens);
        let counts: Option<Value> = self
            .has_usage
            .then(|| self.answers.head.chunk(Vec::new(), Some(usage())));
        let counts = counts.map(|chunk| chunk.to_string());
        counts.into_iter().chain(["[DONE]".to_string()]).collect()
    }
}
