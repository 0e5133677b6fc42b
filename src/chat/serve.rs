//! `ewe serve`: an OpenAI-compatible endpoint over the engine. `/v1/completions` and `/v1/chat/completions` (whole or as
//! server-sent events), `/v1/models`, `/health`, `/metrics`. A client that goes away frees its places in the batch.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::extract::{Extension, MatchedPath, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use ewe::backend::{Backend, Sampling};
use ewe::cli::serve::Args;
use serde_json::json;
use tokio::sync::Semaphore;

use super::answers::Answers;
use super::door;
use super::metrics::{MEDIA_TYPE, Metrics, Tally};
use super::order::{Order, Prompt};
use super::pieces::Pieces;
use super::refusal::Refusal;
use super::wire::{Head, Kind, model};
use crate::engine::handle::{Ask, LocalBackend};
use crate::eval::complete::batched;
use crate::model::token_bytes::TokenBytes;

/// What all requests share.
pub struct Server {
    backend: LocalBackend,
    /// What single tokens stand for.
    pub bytes: TokenBytes,
    metrics: Arc<Metrics>,
    token: Option<String>,
    /// A permit for each answer that is made or waits.
    room: Arc<Semaphore>,
    /// How many permits there are.
    places: usize,
    count: AtomicU64,
    /// Gives seeds to requests that have none.
    dice: RandomState,
}

/// Runs the command until Ctrl-C.
///
/// Fails when the address is beyond this machine and there is no token, when it is taken, and as the model's loading
/// does.
pub fn run(args: &Args, quiet: bool) -> Result<()> {
    let token = args
        .token
        .clone()
        .or_else(|| std::env::var("EWE_TOKEN").ok())
        .filter(|token| !token.is_empty());
    if !args.bind.ip().is_loopback() && token.is_none() {
        bail!(
            "`{}` can be reached from other machines, so a token is needed\nhint: --token, or EWE_TOKEN",
            args.bind
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Taken before the model is loaded: a mistake in the address shows at once.
        let listener = tokio::net::TcpListener::bind(args.bind)
            .await
            .with_context(|| format!("cannot listen on `{}`", args.bind))?;
        let address = listener.local_addr()?;
        let backend = tokio::task::block_in_place(|| batched(&args.model, &args.engine))?;
        if !quiet {
            eprintln!(
                "{} is served at http://{address}/v1; {}; Ctrl-C stops it",
                backend.model(),
                backend.budget_line()
            );
        }
        let places = backend.capacity() + args.max_waiting as usize;
        let server = Arc::new(Server {
            bytes: TokenBytes::of(backend.tokenizer()),
            metrics: Arc::new(Metrics::new(backend.budget().bytes)),
            backend,
            token,
            room: Arc::new(Semaphore::new(places)),
            places,
            count: AtomicU64::new(0),
            dice: RandomState::new(),
        });
        let head_time = Duration::from_secs(args.head_timeout);
        // Streams in flight are not waited for: their clients see the connection end.
        tokio::select! {
            () = async { ewe::connections::serve(listener, router(server), head_time).await } => unreachable!("it serves for ever"),
            stopped = tokio::signal::ctrl_c() => stopped.context("cannot listen for Ctrl-C"),
        }
    })
}

fn router(server: Arc<Server>) -> Router {
    let guarded = Router::new()
        .route("/v1/models", get(list))
        .route("/v1/models/{*id}", get(one))
        .route("/v1/completions", post(completions))
        .route("/v1/chat/completions", post(chat))
        .route("/metrics", get(figures))
        .route_layer(from_fn_with_state(server.clone(), authorise));
    Router::new()
        .route("/health", get(health))
        .merge(guarded)
        .method_not_allowed_fallback(|| async {
            Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path does not take this method",
            )
        })
        .fallback(|request: Request| async move {
            Refusal::new(
                StatusCode::NOT_FOUND,
                format!("there is no `{}` here", request.uri().path()),
            )
        })
        .layer(from_fn_with_state(server.clone(), tally))
        .with_state(server)
}

/// Counts a request, and how it ends.
async fn tally(State(server): State<Arc<Server>>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let tally = Arc::new(Tally::new(
        server.metrics.clone(),
        path.map_or("other", MatchedPath::as_str),
    ));
    request.extensions_mut().insert(tally.clone());
    let response = next.run(request).await;
    tally.handled(response.status().as_u16());
    response
}

async fn authorise(
    State(server): State<Arc<Server>>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let Some(token) = &server.token else {
        return Ok(next.run(request).await);
    };
    let given = request.headers().get(header::AUTHORIZATION);
    let given = given
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
        .unwrap_or_default();
    if !same(given, token.as_bytes()) {
        return Err(
            Refusal::new(StatusCode::UNAUTHORIZED, "the token is missing or wrong").coded("invalid_api_key"),
        );
    }
    Ok(next.run(request).await)
}

/// Compares in a time that does not tell how far two secrets agree.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

async fn health(State(server): State<Arc<Server>>) -> Response {
    match server.backend.broken() {
        None => Json(json!({ "status": "ok" })).into_response(),
        Some(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({ "status": "broken", "reason": reason })),
        )
            .into_response(),
    }
}

async fn figures(State(server): State<Arc<Server>>) -> impl IntoResponse {
    let text = server.metrics.text(&server.backend.stats());
    ([(header::CONTENT_TYPE, MEDIA_TYPE)], text)
}

async fn list(State(server): State<Arc<Server>>) -> Json<serde_json::Value> {
    Json(json!({ "object": "list", "data": [model(&server.backend)] }))
}

async fn one(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
) -> Result<Json<serde_json::Value>, Refusal> {
    if id != server.backend.model() {
        let message = format!(
            "there is no model `{id}` here\nhint: it is `{}`",
            server.backend.model()
        );
        return Err(Refusal::new(StatusCode::NOT_FOUND, message).coded("model_not_found"));
    }
    Ok(Json(model(&server.backend)))
}

async fn completions(
    State(server): State<Arc<Server>>,
    Extension(tally): Extension<Arc<Tally>>,
    request: Request,
) -> Result<Response, Refusal> {
    let body = door::body(request).await?;
    // A long text keeps the tokenizer busy for a while.
    let (order, prompts) = tokio::task::block_in_place(|| {
        let (order, prompts) = Order::completion(&body)?;
        let echo = order.echo;
        let prompts = prompts.into_iter().map(|prompt| server.encode(prompt, echo));
        Ok::<_, Refusal>((order, prompts.collect::<Result<Vec<_>, _>>()?))
    })?;
    server.answer(Kind::Text, &order, prompts, "prompt", tally).await
}

async fn chat(
    State(server): State<Arc<Server>>,
    Extension(tally): Extension<Arc<Tally>>,
    request: Request,
) -> Result<Response, Refusal> {
    let body = door::body(request).await?;
    let (order, prompt) = tokio::task::block_in_place(|| {
        let (mut order, messages) = Order::chat(&body)?;
        let prompt = super::prompt(server.backend.tokenizer(), &messages)
            .map_err(|error| Refusal::parameter("messages", format!("{error:#}")))?;
        order.sampling.stop.extend(prompt.stop);
        let echo = String::new();
        Ok::<_, Refusal>((
            order,
            Encoded {
                ids: prompt.ids,
                echo,
            },
        ))
    })?;
    server
        .answer(Kind::Chat, &order, vec![prompt], "messages", tally)
        .await
}

/// A prompt in token ids.
struct Encoded {
    ids: Vec<i64>,
    /// What each answer begins with.
    echo: String,
}

impl Server {
    fn encode(&self, prompt: Prompt, echo: bool) -> Result<Encoded, Refusal> {
        let tokenizer = self.backend.tokenizer();
        let unusable = |error: anyhow::Error| Refusal::parameter("prompt", format!("{error:#}"));
        match prompt {
            Prompt::Text(text) => {
                let ids = tokenizer.encode(&text, true).map_err(unusable)?;
                let echo = if echo { text } else { String::new() };
                Ok(Encoded { ids, echo })
            }
            Prompt::Ids(ids) => {
                let vocabulary = self.backend.vocabulary();
                if let Some(id) = ids.iter().find(|&&id| id < 0 || id >= vocabulary) {
                    let message = format!("there is no token {id}: the model has {vocabulary}");
                    return Err(Refusal::parameter("prompt", message));
                }
                let echo = if echo {
                    tokenizer.decode(&ids).map_err(unusable)?
                } else {
                    String::new()
                };
                Ok(Encoded { ids, echo })
            }
        }
    }

    /// Answers `prompts`, which stood in the parameter `of`.
    async fn answer(
        self: Arc<Self>,
        kind: Kind,
        order: &Order,
        prompts: Vec<Encoded>,
        of: &str,
        tally: Arc<Tally>,
    ) -> Result<Response, Refusal> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let mut asks = Vec::new();
        for prompt in &prompts {
            self.fits(prompt.ids.len(), of)?;
            asks.extend(self.asks(order, prompt, number));
        }
        let permit = self.places_for(asks.len())?;
        let answers = self.backend.ask_all(asks)?;
        let answers = Answers {
            head: Head::new(kind, number, self.backend.model(), order.logprobs),
            prompt_tokens: prompts.iter().map(|prompt| prompt.ids.len()).sum(),
            echoes: prompts
                .into_iter()
                .flat_map(|prompt| std::iter::repeat_n(prompt.echo, order.choices))
                .collect(),
            pieces: Pieces::of(answers),
            server: self,
            tally,
            _permit: permit,
        };
        if order.stream {
            return Ok(answers.stream(order.usage));
        }
        answers.whole().await
    }

    fn fits(&self, tokens: usize, of: &str) -> Result<(), Refusal> {
        if tokens < self.backend.context() {
            return Ok(());
        }
        let message = format!(
            "the prompt has {tokens} tokens, the model's context is {}\nhint: shorten the prompt",
            self.backend.context()
        );
        Err(Refusal::parameter(of, message).coded("context_length_exceeded"))
    }

    /// The choices of one prompt. Each has a seed of its own that does not depend on the other prompts.
    fn asks(&self, order: &Order, prompt: &Encoded, number: u64) -> Vec<Ask> {
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
            logprobs: order.logprobs,
        };
        (0..order.choices).map(ask).collect()
    }

    fn places_for(&self, answers: usize) -> Result<tokio::sync::OwnedSemaphorePermit, Refusal> {
        if answers > self.places {
            let message = format!(
                "the request wants {answers} answers, {} may run or wait\nhint: --max-waiting",
                self.places
            );
            return Err(Refusal::parameter("n", message));
        }
        let room = self.room.clone().try_acquire_many_owned(answers as u32);
        room.map_err(|_| {
            Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too many requests are waiting\nhint: try again later",
            )
            .coded("too_many_requests")
        })
    }
}
