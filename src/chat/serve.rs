//! `ewe serve`: an OpenAI-compatible endpoint over the engine. `/v1/completions` and `/v1/chat/completions` (whole or as
//! server-sent events), `/v1/models`, `/health`, `/metrics`. A client that goes away frees its places in the batch.

use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::extract::rejection::PathRejection;
use axum::extract::{MatchedPath, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use ewe::backend::Backend;
use ewe::cli::models::serve::Args;
use ewe::http_server::guard::{Guard, Token};
use ewe::http_server::{self, Open};
use ewe::leave;
use ewe::signals::Requests;
use ewe::text::counted;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::access;
use super::answering::{chat, completions};
use super::body::BodyLimits;
use super::error::ApiError;
use super::metrics::{MEDIA_TYPE, Metrics, Tally};
use super::models::Names;
use crate::engine::handle::LocalBackend;
use crate::eval::complete::batched;
use crate::model::conversation_template::ConversationTemplate;
use crate::model::token_bytes::TokenBytes;

/// How long connections without an answer under way may take to end.
const IDLE_TIME: Duration = Duration::from_secs(3);

/// What all requests share.
pub struct Server {
    /// The model.
    pub backend: LocalBackend,
    /// How it is asked in chats.
    pub form: ConversationTemplate,
    /// What the model is called.
    pub names: Names,
    /// What single tokens stand for.
    pub bytes: TokenBytes,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// Where requests may come from.
    pub guard: Guard,
    /// What clients must know.
    pub token: Option<Token>,
    /// Where bodies are taken in.
    pub desk: BodyLimits,
    /// A permit for each answer that is made or waits.
    pub room: Arc<Semaphore>,
    /// How many permits there are.
    pub places: usize,
    /// Counts requests.
    pub count: AtomicU64,
    /// Gives seeds to requests that have none.
    pub dice: RandomState,
    stopping: AtomicBool,
}

impl Server {
    /// Whether nothing new is taken any more.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Answers that are made or wait.
    fn under_way(&self) -> usize {
        self.places - self.room.available_permits()
    }
}

/// Runs the command until somebody asks it to end; the exit code says that it was stopped.
///
/// Fails when the address is beyond this machine and there is no token, when it is taken, and as the model's loading
/// does.
pub fn run(args: &Args, quiet: bool) -> Result<u8> {
    let token = args.token.read()?;
    let is_local = args.bind.ip().is_loopback();
    if !is_local && token.is_none() {
        bail!(
            "`{}` can be reached from other machines, so a token is needed\nhint: --token-file, or EWE_TOKEN",
            args.bind
        );
    }
    if !is_local && !args.allow_host.is_empty() {
        bail!(
            "--allow-host is for an address of this machine alone: at --bind {} every name is answered\nhint: leave --allow-host away",
            args.bind
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Taken before the model is loaded: a mistake in the address shows at once.
        let listener = TcpListener::bind(args.bind)
            .await
            .with_context(|| format!("cannot listen on `{}`", args.bind))?;
        let address = listener.local_addr()?;
        let (backend, form) = tokio::task::block_in_place(|| {
            let mut backend = batched(&args.model, &args.engine)?;
            let form = ConversationTemplate::to_ask(args.form.template.as_ref(), backend.tokenizer())?;
            backend.also_end_at(form.end_token());
            Ok::<_, anyhow::Error>((backend, form))
        })?;
        let names = Names::new(
            &args.served_model_name,
            backend.model(),
            args.model.adapter.as_deref(),
        );
        let mut stop = Requests::listen().context("cannot listen for signals")?;
        if !quiet {
            eprintln!(
                "{} is served at http://{address}/v1; {}; Ctrl-C stops it",
                names.line(),
                backend.budget_line()
            );
            eprintln!("chats are asked by the template {}", form.name());
        }
        let places = backend.capacity() + args.max_waiting as usize;
        let server = Arc::new(Server {
            names,
            bytes: TokenBytes::of(backend.tokenizer()),
            metrics: Arc::new(Metrics::new(backend.budget().bytes)),
            backend,
            form,
            guard: Guard::new(address)
                .named(&args.allow_host)
                .with_origins(&args.allow_origin),
            token: token.as_deref().map(Token::new),
            desk: BodyLimits::new(),
            room: Arc::new(Semaphore::new(places)),
            places,
            count: AtomicU64::new(0),
            dice: RandomState::new(),
            stopping: AtomicBool::new(false),
        });
        let head_time = Duration::from_secs(args.head_timeout);
        let open = http_server::serve(listener, router(server.clone()), head_time, stop.next()).await;
        server.stopping.store(true, Ordering::Relaxed);
        drain(
            &server,
            &open,
            Duration::from_secs(args.drain_timeout),
            stop,
            quiet,
        )
        .await;
        Ok(leave::INTERRUPTED)
    })
}

/// Lets answers under way end, for so long; a second signal ends all at once.
async fn drain(server: &Server, open: &Open, time: Duration, mut stop: Requests, quiet: bool) {
    let answers = |count: usize| counted(count, "answer");
    let under_way = server.under_way();
    if under_way > 0 && !quiet {
        eprintln!(
            "stopping: no new requests are taken, {} under way may take {} s more; once more to leave at once",
            answers(under_way),
            time.as_secs()
        );
    }
    // Who has not even sent a whole request is not waited for as long.
    let time = if under_way > 0 { time } else { time.min(IDLE_TIME) };
    let ended = tokio::select! {
        () = open.ended() => true,
        () = tokio::time::sleep(time) => false,
        () = stop.next() => false,
    };
    let cut = server.under_way();
    if !ended && cut > 0 {
        if !quiet {
            eprintln!("stopped: {} cut off", answers(cut));
        }
        // The engine may be in the middle of a step of minutes, for which nobody waits any more.
        leave::at_once();
    }
    if under_way > 0 && !quiet {
        eprintln!("stopped: all answers were given");
    }
}

fn router(server: Arc<Server>) -> Router {
    let guarded = Router::new()
        .route("/v1/models", get(list))
        .route("/v1/models/{*id}", get(one))
        .route("/v1/completions", post(completions))
        .route("/v1/chat/completions", post(chat))
        .route("/metrics", get(figures))
        .route_layer(from_fn_with_state(server.clone(), access::authorise));
    Router::new()
        .route("/", get(welcome))
        .route("/health", get(health))
        .merge(guarded)
        .method_not_allowed_fallback(|| async {
            ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path does not take this method",
            )
        })
        .fallback(|request: Request| async move {
            ApiError::new(
                StatusCode::NOT_FOUND,
                format!(
                    "there is no `{}` here\nhint: POST /v1/completions, /v1/chat/completions; GET /v1/models, /health, /metrics",
                    request.uri().path()
                ),
            )
        })
        .layer(from_fn_with_state(server.clone(), access::guard))
        .layer(from_fn_with_state(server.clone(), tally))
        .with_state(server)
}

/// For people who open the address in a browser.
async fn welcome() -> &'static str {
    "This is `ewe serve`, an OpenAI-compatible endpoint. Clients want\n\n\
     \x20 base URL   this address with /v1 behind it\n\
     \x20 API key    the token it was started with; anything where there is none\n\
     \x20 model      the one of GET /v1/models\n\n\
     POST /v1/chat/completions   answers messages\n\
     POST /v1/completions        continues a prompt\n\
     GET  /v1/models             what is served\n\
     GET  /health                whether it is well\n\
     GET  /metrics               figures for Prometheus\n"
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
    Json(server.names.list(server.backend.room()))
}

async fn one(
    State(server): State<Arc<Server>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<serde_json::Value>, ApiError> {
    let Path(id) = id.map_err(|unread| ApiError::new(unread.status(), unread.body_text()))?;
    server.names.find(&id)?;
    Ok(Json(server.names.card(&id, server.backend.room())))
}
