//! `ewe serve`: an OpenAI-compatible endpoint over the engine. `/v1/completions`, `/v1/chat/completions` (whole or as
//! server-sent events), `/v1/models`, `/health`. A client that goes away frees its place in the batch.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use axum::extract::rejection::JsonRejection;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::sse::{Event as ServerEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use ewe::backend::{Backend, BackendError};
use ewe::cli::serve::Args;
use futures::StreamExt;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::wire::{Body, Kind, models, usage};
use crate::engine::handle::{Answer, Event, LocalBackend};
use crate::eval::complete::backend;

/// What `/v1/completions` generates when nothing is said: OpenAI's default.
const DEFAULT_TOKENS: usize = 16;

struct Server {
    backend: LocalBackend,
    token: Option<String>,
    /// A permit for each request that runs or waits.
    room: Arc<Semaphore>,
    count: AtomicU64,
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
            "{} can be reached from other machines, so a token is needed\nhint: --token, or EWE_TOKEN",
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
            .with_context(|| format!("cannot listen on {}", args.bind))?;
        let address = listener.local_addr()?;
        let backend = tokio::task::block_in_place(|| backend(&args.model, usize::from(args.max_batch)))?;
        let room = Semaphore::new(usize::from(args.max_batch) + args.max_waiting);
        if !quiet {
            eprintln!(
                "{} is served at http://{address}/v1; Ctrl-C stops it",
                backend.model()
            );
        }
        let server = Arc::new(Server {
            backend,
            token,
            room: Arc::new(room),
            count: AtomicU64::new(0),
        });
        let stop = async {
            let _ = tokio::signal::ctrl_c().await;
        };
        // Streams in flight are not waited for: their clients see the connection end.
        tokio::select! {
            served = axum::serve(listener, router(server)) => served.context("the server failed"),
            () = stop => Ok(()),
        }
    })
}

fn router(server: Arc<Server>) -> Router {
    let guarded = Router::new()
        .route("/v1/models", get(list))
        .route("/v1/completions", post(completions))
        .route("/v1/chat/completions", post(chat))
        .layer(from_fn_with_state(server.clone(), authorise));
    Router::new()
        .route("/health", get(|| async { Json(json!({ "status": "ok" })) }))
        .merge(guarded)
        .with_state(server)
}

/// An error in OpenAI's shape.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let kind = if self.0.is_server_error() {
            "server_error"
        } else {
            "invalid_request_error"
        };
        (
            self.0,
            Json(json!({ "error": { "message": self.1, "type": kind, "code": self.0.as_u16() } })),
        )
            .into_response()
    }
}

impl From<BackendError> for Refusal {
    fn from(error: BackendError) -> Refusal {
        match error {
            BackendError::Request(message) => Refusal(StatusCode::BAD_REQUEST, message),
            other => Refusal(StatusCode::INTERNAL_SERVER_ERROR, other.to_string()),
        }
    }
}

fn bad(message: String) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, message)
}

async fn authorise(
    State(server): State<Arc<Server>>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let Some(token) = &server.token else {
        return Ok(next.run(request).await);
    };
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let given = given
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    if !same(given.as_bytes(), token.as_bytes()) {
        return Err(Refusal(
            StatusCode::UNAUTHORIZED,
            "the token is missing or wrong".to_string(),
        ));
    }
    Ok(next.run(request).await)
}

/// Compares in a time that does not tell how far two secrets agree.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

async fn list(State(server): State<Arc<Server>>) -> Json<serde_json::Value> {
    Json(models(&server.backend))
}

async fn completions(
    State(server): State<Arc<Server>>,
    body: Result<Json<Body>, JsonRejection>,
) -> Result<Response, Refusal> {
    let Json(body) = body.map_err(|error| bad(error.body_text()))?;
    let ids = server.backend.encode(&body.one_prompt().map_err(bad)?)?;
    answer(server, Kind::Text, &body, ids, Vec::new(), DEFAULT_TOKENS).await
}

async fn chat(
    State(server): State<Arc<Server>>,
    body: Result<Json<Body>, JsonRejection>,
) -> Result<Response, Refusal> {
    let Json(body) = body.map_err(|error| bad(error.body_text()))?;
    let messages = body
        .messages
        .as_deref()
        .filter(|m| !m.is_empty())
        .ok_or_else(|| bad("`messages` is missing".into()))?;
    let prompt =
        super::prompt(server.backend.tokenizer(), messages).map_err(|error| bad(format!("{error:#}")))?;
    let room = server.backend.context();
    answer(server, Kind::Chat, &body, prompt.ids, prompt.stop, room).await
}

async fn answer(
    server: Arc<Server>,
    kind: Kind,
    body: &Body,
    ids: Vec<i64>,
    stop: Vec<String>,
    max_tokens: usize,
) -> Result<Response, Refusal> {
    let number = server.count.fetch_add(1, Ordering::Relaxed);
    let mut sampling = body.sampling(max_tokens, number).map_err(bad)?;
    sampling.stop.extend(stop);
    let permit = server.room.clone().try_acquire_owned().map_err(|_| {
        Refusal(
            StatusCode::TOO_MANY_REQUESTS,
            "too many requests are waiting; try again later".to_string(),
        )
    })?;
    let answer = server.backend.stream(ids, sampling)?;
    let id = format!(
        "{}-{number}",
        if kind == Kind::Chat { "chatcmpl" } else { "cmpl" }
    );
    let model = server.backend.model().to_string();
    if body.stream {
        return Ok(stream(kind, id, model, answer, permit, body.wants_usage()));
    }
    let done = answer.completion().await?;
    let usage = usage(done.prompt_tokens, done.completion_tokens);
    Ok(Json(kind.answer(&id, &model, &done.text, done.finish_reason.as_str(), usage)).into_response())
}

/// The answer as server-sent events, ended by `[DONE]`.
fn stream(
    kind: Kind,
    id: String,
    model: String,
    answer: Answer,
    permit: OwnedSemaphorePermit,
    counts: bool,
) -> Response {
    let prompt_tokens = answer.prompt_tokens();
    let events = answer.flat_map(move |event| {
        // Held until the stream is dropped, at its end or when the client has gone.
        let _held = &permit;
        let pieces = match event {
            Ok(Event::Text(text)) => vec![kind.piece(&id, &model, &text, None).to_string()],
            Ok(Event::Done {
                finish_reason,
                completion_tokens,
            }) => {
                let mut pieces = vec![kind.piece(&id, &model, "", Some(finish_reason.as_str()))];
                if counts {
                    let mut last = kind.piece(&id, &model, "", None);
                    last["choices"] = json!([]);
                    last["usage"] = usage(prompt_tokens, completion_tokens);
                    pieces.push(last);
                }
                pieces
                    .iter()
                    .map(ToString::to_string)
                    .chain(["[DONE]".to_string()])
                    .collect()
            }
            Err(error) => {
                vec![json!({ "error": { "message": error.to_string(), "type": "server_error" } }).to_string()]
            }
        };
        futures::stream::iter(
            pieces
                .into_iter()
                .map(|piece| Ok::<_, Infallible>(ServerEvent::default().data(piece))),
        )
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}
