//! What the two endpoints do with a request: read it, find places for its answers, encode its prompts, ask the engine.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Extension, Request, State};
use axum::response::Response;
use ewe::backend::Sampling;
use ewe::text::counted;
use tokio::sync::OwnedSemaphorePermit;

use super::answers::Answers;
use super::delta::Deltas;
use super::error::ApiError;
use super::metrics::Tally;
use super::request::{ChatRequest, Prompt};
use super::serve::Server;
use super::wire::{Head, Kind};
use crate::engine::handle::Ask;

/// `POST /v1/completions`.
pub async fn completions(
    State(server): State<Arc<Server>>,
    Extension(tally): Extension<Arc<Tally>>,
    request: Request,
) -> Result<Response, ApiError> {
    let body = server.desk.body(request).await?;
    let read = |json: &[u8]| {
        let (order, prompts) = ChatRequest::completion(json)?;
        server.serves(&order)?;
        let permit = server.places_for(order.choices.saturating_mul(prompts.len()))?;
        let prompts = prompts.into_iter().map(|prompt| server.encode(prompt, &order));
        let prompts = prompts.collect::<Result<Vec<_>, _>>()?;
        Ok((order, prompts, permit))
    };
    let (order, prompts, permit) = server.desk.work(&body, read).await?;
    drop(body);
    server.answer(Kind::Text, &order, prompts, tally, permit).await
}

/// `POST /v1/chat/completions`.
pub async fn chat(
    State(server): State<Arc<Server>>,
    Extension(tally): Extension<Arc<Tally>>,
    request: Request,
) -> Result<Response, ApiError> {
    let body = server.desk.body(request).await?;
    let read = |json: &[u8]| {
        let (mut order, said) = ChatRequest::chat(json)?;
        server.serves(&order)?;
        let permit = server.places_for(order.choices)?;
        let (tokenizer, most) = (server.backend.tokenizer(), server.backend.context());
        let ids = super::prompt(&server.form, tokenizer, &said, most)?;
        let ids = ids.ok_or_else(|| server.too_long("messages", None))?;
        order.sampling.stop.extend_from_slice(server.form.stop());
        let prompt = server.encoded(ids, String::new(), "messages")?;
        Ok((order, prompt, permit))
    };
    let (order, prompt, permit) = server.desk.work(&body, read).await?;
    drop(body);
    server
        .answer(Kind::Chat, &order, vec![prompt], tally, permit)
        .await
}

/// A prompt in token ids, fewer than the model's context.
struct Encoded {
    ids: Vec<i64>,
    /// What each answer begins with.
    echo: String,
}

impl Server {
    fn serves(&self, order: &ChatRequest) -> Result<(), ApiError> {
        order
            .model
            .as_deref()
            .map_or(Ok(()), |name| self.names.check(name))
    }

    fn encode(&self, prompt: Prompt, order: &ChatRequest) -> Result<Encoded, ApiError> {
        let tokenizer = self.backend.tokenizer();
        let unusable = |error: anyhow::Error| ApiError::parameter("prompt", told(&error));
        let (ids, echo) = match prompt {
            Prompt::Text(text) => {
                let ids = tokenizer
                    .encode_within(&text, order.special, self.backend.context())
                    .map_err(unusable)?
                    .ok_or_else(|| self.too_long("prompt", None))?;
                if ids.is_empty() {
                    return Err(ApiError::parameter("prompt", nothing(order.special)));
                }
                (ids, if order.echo { text } else { String::new() })
            }
            Prompt::Ids(ids) => {
                let vocabulary = self.backend.vocabulary();
                if let Some(id) = ids.iter().find(|&&id| id < 0 || id >= vocabulary) {
                    let message = format!("there is no token {id}: the model has {vocabulary}");
                    return Err(ApiError::parameter("prompt", message));
                }
                if ids.len() >= self.backend.context() {
                    return Err(self.too_long("prompt", Some(ids.len())));
                }
                let echo = if order.echo {
                    tokenizer.decode(&ids).map_err(unusable)?
                } else {
                    String::new()
                };
                (ids, echo)
            }
        };
        self.encoded(ids, echo, "prompt")
    }

    fn encoded(&self, ids: Vec<i64>, echo: String, of: &str) -> Result<Encoded, ApiError> {
        if ids.len() >= self.backend.context() {
            return Err(self.too_long(of, Some(ids.len())));
        }
        Ok(Encoded { ids, echo })
    }

    /// Answers `prompts`.
    async fn answer(
        self: Arc<Self>,
        kind: Kind,
        order: &ChatRequest,
        prompts: Vec<Encoded>,
        tally: Arc<Tally>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Response, ApiError> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let asks = prompts.iter().flat_map(|prompt| self.asks(order, prompt, number));
        let answers = self.backend.ask_all(asks.collect())?;
        let answers = Answers {
            head: Head::new(kind, number, self.names.first(), order.wants.logprobs),
            prompt_tokens: prompts.iter().map(|prompt| prompt.ids.len()).sum(),
            echoes: prompts
                .into_iter()
                .flat_map(|prompt| std::iter::repeat_n(prompt.echo, order.choices))
                .collect(),
            pieces: Deltas::of(answers),
            server: self,
            tally,
            _permit: permit,
        };
        if order.stream {
            return Ok(answers.stream(order.usage));
        }
        answers.whole().await
    }

    /// `tokens` is how many there are, where they were counted to the end.
    fn too_long(&self, of: &str, tokens: Option<usize>) -> ApiError {
        let context = self.backend.context();
        let has = match tokens {
            Some(tokens) => counted(tokens, "token"),
            None => "more tokens than fit".to_string(),
        };
        let message =
            format!("the prompt has {has}, the model's context is {context}\nhint: shorten the prompt");
        ApiError::parameter(of, message).coded("context_length_exceeded")
    }

    /// The choices of one prompt. Each has a seed of its own that does not depend on the other prompts.
    fn asks(&self, order: &ChatRequest, prompt: &Encoded, number: u64) -> Vec<Ask> {
        let seed = if order.seeded {
            order.sampling.seed
        } else {
            self.dice.hash_one(number)
        };
        let max_tokens = if order.limited {
            order.sampling.max_tokens
        } else {
            // As much as there is room for.
            let left = self.backend.room().saturating_sub(prompt.ids.len());
            order.sampling.max_tokens.min(left.max(1))
        };
        let ask = |choice: usize| Ask {
            prompt: prompt.ids.clone(),
            sampling: Sampling {
                max_tokens,
                seed: seed.wrapping_add(choice as u64),
                ..order.sampling.clone()
            },
            wants: order.wants,
        };
        (0..order.choices).map(ask).collect()
    }

    fn places_for(&self, answers: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        if answers > self.places {
            let message = format!(
                "the request wants {}, {} may run or wait\nhint: --max-waiting",
                counted(answers, "answer"),
                self.places
            );
            return Err(ApiError::parameter("n", message));
        }
        let room = self.room.clone().try_acquire_many_owned(answers as u32);
        room.map_err(|_| ApiError::busy("too many requests are waiting\nhint: try again later"))
    }
}

/// Why a prompt of no letters is no prompt; `special` is `add_special_tokens`.
fn nothing(special: bool) -> &'static str {
    match special {
        true => "`prompt` is empty, and this model has no begin-of-text token that could stand before it",
        false => {
            "`prompt` is empty, and with `add_special_tokens`: false no token stands before it\nhint: leave `add_special_tokens` away, \
             where the model has a begin-of-text token"
        }
    }
}

/// An error on one line, its hint below.
fn told(error: &anyhow::Error) -> String {
    ewe::cli::told(error)
}
