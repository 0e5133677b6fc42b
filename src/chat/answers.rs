//! The answers to one request, sent whole or as they come.

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
use super::metrics::Tally;
use super::serve::Server;
use super::wire::{Head, usage};

/// Answers under way. Dropping it gives them up.
pub struct Answers {
    /// What all their parts say.
    pub head: Head,
    /// Tokens of all prompts.
    pub prompt_tokens: usize,
    /// What each choice begins with.
    pub echoes: Vec<String>,
    /// What comes.
    pub pieces: Deltas,
    /// Who made them.
    pub server: Arc<Server>,
    /// Counts the request.
    pub tally: Arc<Tally>,
    /// Their places, free again once this is dropped.
    pub _permit: OwnedSemaphorePermit,
}

impl Answers {
    /// Waits for all of them.
    pub async fn whole(mut self) -> Result<Response, ApiError> {
        let mut choices: Vec<Delta> = self.echoes.drain(..).map(beginning).collect();
        while let Some(next) = self.pieces.next().await {
            let (index, piece) = next.map_err(|error| ApiError::midway(&error))?;
            self.tally.first_token();
            choices[index].append(piece);
        }
        let completion_tokens = choices
            .iter()
            .filter_map(|choice| choice.end)
            .map(|(_, n)| n)
            .sum();
        let bytes = &self.server.bytes;
        let whole = choices.iter().enumerate();
        let choices = whole
            .map(|(index, choice)| self.head.choice(index, choice, bytes))
            .collect();
        let answer = self
            .head
            .whole(choices, usage(self.prompt_tokens, completion_tokens));
        Ok(Json(answer).into_response())
    }

    /// Server-sent events, ended by `[DONE]`, or by an error if an answer fails. `counts` adds the numbers of tokens.
    pub fn stream(self, counts: bool) -> Response {
        self.tally.hand_to_stream();
        let begun = vec![false; self.echoes.len()];
        let flow = Flow {
            answers: self,
            begun,
            counts,
            completion_tokens: 0,
        };
        let events = stream::unfold(Some(flow), |flow| async { Some(flow?.advance().await) })
            .flat_map(|data| stream::iter(data.into_iter().map(|data| Ok::<_, Infallible>(event(data)))));
        Sse::new(events).keep_alive(KeepAlive::default()).into_response()
    }
}

fn beginning(echo: String) -> Delta {
    Delta {
        text: echo,
        ..Delta::default()
    }
}

fn event(data: String) -> Event {
    Event::default().data(data)
}

/// A stream of answers under way.
struct Flow {
    answers: Answers,
    /// Of each choice, whether something was sent of it.
    begun: Vec<bool>,
    counts: bool,
    completion_tokens: usize,
}

impl Flow {
    /// The data of the next events, and the flow unless it has ended.
    async fn advance(mut self) -> (Vec<String>, Option<Flow>) {
        match self.answers.pieces.next().await {
            Some(Ok((index, piece))) => {
                self.answers.tally.first_token();
                self.completion_tokens += piece.end.map_or(0, |(_, tokens)| tokens);
                (vec![self.data(index, piece)], Some(self))
            }
            Some(Err(error)) => {
                let refusal = ApiError::midway(&error);
                self.answers.tally.ended(refusal.status.as_u16());
                (vec![refusal.body().to_string()], None)
            }
            None => {
                self.answers.tally.ended(200);
                (self.last(), None)
            }
        }
    }

    fn data(&mut self, index: usize, mut piece: Delta) -> String {
        let first = !std::mem::replace(&mut self.begun[index], true);
        if first {
            let mut whole = beginning(std::mem::take(&mut self.answers.echoes[index]));
            whole.append(piece);
            piece = whole;
        }
        let choice = self
            .answers
            .head
            .delta(index, &piece, first, &self.answers.server.bytes);
        self.answers.head.piece(vec![choice], None).to_string()
    }

    fn last(&self) -> Vec<String> {
        let usage = || usage(self.answers.prompt_tokens, self.completion_tokens);
        let counts: Option<Value> = self
            .counts
            .then(|| self.answers.head.piece(Vec::new(), Some(usage())));
        let counts = counts.map(|piece| piece.to_string());
        counts.into_iter().chain(["[DONE]".to_string()]).collect()
    }
}
