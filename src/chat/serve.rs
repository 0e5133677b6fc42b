//! `ewe serve`: an OpenAI-compatible server over the engine: `/v1/completions` and
//! `/v1/chat/completions` (whole, or as server-sent events), `/v1/models`, `/health`, `/metrics`.
//! When a client disconnects, its requests leave the batch.

use std::sync::Arc;
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
use ewe::http_server::guard::{BearerToken, OriginGuard};
use ewe::http_server::{self, OpenConnections};
use ewe::job::serve::ServeJob;
use ewe::leave;
use ewe::signals::ShutdownSignals;
use ewe::text::counted;
use serde_json::json;
use tokio::net::TcpListener;

use super::access;
use super::answering::{chat, completions};
use super::error::ApiError;
use super::fields::cut;
use super::metrics::{MEDIA_TYPE, RequestMetrics};
use super::models::{self, ModelNames, ServedModel};
use super::server::ServerState;
use super::tokenize;
use crate::engine::engines::DeviceFailure;
use crate::engine::handle::LocalBackend;
use crate::engine::open;
use crate::model::text::conversation_template::ConversationTemplate;

/// How long connections without a running answer may take to end.
const IDLE_TIME: Duration = Duration::from_secs(3);

/// The exit code after an error that broke the CUDA context, which a new process does not have:
/// `EX_TEMPFAIL` of sysexits.h, so that a supervisor can restart the server on it.
const DEVICE_LOST: u8 = 75;

/// Runs the command until a signal ends it. Returns the exit code of an interrupted command. If an
/// error breaks the CUDA context, ends the process with [`DEVICE_LOST`].
///
/// Fails when other machines can reach the address and there is no token, when the address is in
/// use, and when the model cannot be opened.
pub fn run(job: &ServeJob, quiet: bool) -> Result<u8> {
    check_address(job)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Before the model is loaded: a mistake in the address shows at once.
        let listener = TcpListener::bind(job.bind)
            .await
            .with_context(|| format!("cannot listen on `{}`", job.bind))?;
        let address = listener.local_addr()?;
        let (backend, models) = tokio::task::block_in_place(|| open_models(job))?;
        let mut stop = ShutdownSignals::listen().context("cannot listen for signals")?;
        if !quiet {
            let names: Vec<String> = models.iter().map(|model| model.names.line()).collect();
            eprintln!(
                "{} {} served at http://{address}/v1; {}; Ctrl-C stops it",
                names.join(", "),
                if models.len() == 1 { "is" } else { "are" },
                match &backend.budget_lines()[..] {
                    [line] => line.clone(),
                    lines => format!("by {}", counted(lines.len(), "device")),
                }
            );
            if let lines @ [_, _, ..] = &backend.budget_lines()[..] {
                lines.iter().for_each(|line| eprintln!("{line}"));
            }
            for model in &models {
                let of = match model.adapter {
                    Some(_) => format!(" of {}", model.names.first()),
                    None => String::new(),
                };
                eprintln!("chats{of} are asked by the template {}", model.template.name());
            }
            let key = match job.token {
                Some(_) => "the token",
                None => "any text",
            };
            eprintln!(
                "settings for a client: base URL http://{address}/v1, model {}, API key {key}",
                models.first().map_or("", |model| model.names.first())
            );
        }
        let guard = OriginGuard::new(address)
            .named(&job.allowed_hosts)
            .with_origins(&job.allowed_origins);
        let token = job.token.as_deref().map(BearerToken::new);
        let server = Arc::new(ServerState::new(backend, models, guard, token, job.max_waiting));
        let (open, lost) = serve_until(listener, &server, job.head_timeout, stop.next()).await;
        if let Some(reason) = lost {
            eprintln!("error: {}", device_lost(&reason));
            // Destructors of libtorch would call CUDA, which fails or hangs.
            leave::at_once_with(DEVICE_LOST);
        }
        drain(&server, &open, job.drain_timeout, stop, quiet).await;
        Ok(leave::INTERRUPTED)
    })
}

/// Answers requests until `stop` is ready or the model's device is lost; takes no new ones then.
/// Returns the open connections, and the error if the device is lost; by then the answers that it
/// ended have been sent.
async fn serve_until(
    listener: TcpListener,
    server: &Arc<ServerState>,
    head_timeout: Duration,
    stop: impl Future<Output = ()>,
) -> (OpenConnections, Option<String>) {
    let mut lost = None;
    let ended = async {
        tokio::select! {
            () = stop => {}
            reason = server.backend.device_lost() => lost = Some(reason),
        }
    };
    let open = http_server::serve(listener, router(server.clone()), head_timeout, ended).await;
    server.stop();
    if lost.is_some() {
        let _ = tokio::time::timeout(IDLE_TIME, open.ended()).await;
    }
    (open, lost)
}

/// Returns why the server ends after an error that broke the CUDA context.
fn device_lost(reason: &str) -> String {
    format!(
        "the GPU cannot be used any more by this process: {reason}\nhint: start `ewe serve` again; the exit code \
         {DEVICE_LOST} tells a supervisor to"
    )
}

/// Fails on options that do not suit the address.
fn check_address(job: &ServeJob) -> Result<()> {
    let is_local = job.bind.ip().is_loopback();
    if !is_local && job.token.is_none() {
        bail!(
            "`{}` can be reached from other machines, so a token is needed\nhint: --token-file, or EWE_TOKEN",
            job.bind
        );
    }
    if !is_local && !job.allowed_hosts.is_empty() {
        bail!(
            "--allow-host is for an address of this machine alone: at --bind {} every name is answered\nhint: leave --allow-host away",
            job.bind
        );
    }
    Ok(())
}

/// Opens the model and its adapters, each with its chat template.
fn open_models(job: &ServeJob) -> Result<(LocalBackend, Vec<ServedModel>)> {
    let dirs: Vec<&std::path::Path> = job.adapters.iter().map(|(_, dir)| dir.as_path()).collect();
    let (mut backend, fingerprints) = open::served(&job.model, &dirs, job.limits)?;
    let template = ConversationTemplate::for_inference(job.template.as_ref(), backend.tokenizer())?;
    backend.also_end_at(template.end_token());
    let mut models = vec![ServedModel {
        names: ModelNames::new(&job.names, backend.model(), job.model.adapter.as_deref()),
        template,
        adapter: None,
        end_tokens: Vec::new(),
    }];
    for (index, ((name, dir), fingerprint)) in job.adapters.iter().zip(&fingerprints).enumerate() {
        let names = ModelNames::of_adapter(name, fingerprint);
        if models.iter().any(|other| other.names.has(name)) {
            bail!("--adapter {name}=…: there is a model of this name already\nhint: take another name");
        }
        // A template of its own ends answers at tokens of its own.
        let tokenizer = backend.tokenizer().clone().prompted_as_in(dir)?;
        let template = ConversationTemplate::for_inference(job.template.as_ref(), &tokenizer)?;
        let ends = tokenizer.end_tokens().iter().copied().chain(template.end_token());
        models.push(ServedModel {
            names,
            end_tokens: ends.collect(),
            template,
            adapter: Some(index),
        });
    }
    Ok((backend, models))
}

/// Waits for running answers, for at most `time`. A second signal ends the process at once.
async fn drain(
    server: &ServerState,
    open: &OpenConnections,
    time: Duration,
    mut stop: ShutdownSignals,
    quiet: bool,
) {
    let answers = |count: usize| counted(count, "answer");
    let under_way = server.under_way();
    if under_way > 0 && !quiet {
        eprintln!(
            "stopping: no new requests are taken, {} under way may take {} s more; once more to leave at once",
            answers(under_way),
            time.as_secs()
        );
    }
    // Clients that have not sent a whole request get less time.
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
        // The engine may be within a step of minutes, for which nobody waits any more.
        leave::at_once();
    }
    if under_way > 0 && !quiet {
        eprintln!("stopped: all answers were given");
    }
}

/// Returns the routes, with their guards.
fn router(server: Arc<ServerState>) -> Router {
    let guarded = Router::new()
        .route("/v1/models", get(list_models))
        .route("/v1/models/{*id}", get(model))
        .route("/v1/completions", post(completions))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/embeddings", post(no_embeddings))
        .route("/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize))
        .route("/metrics", get(metrics))
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
        .fallback(|request: Request| async move { not_here(request.uri().path()) })
        .layer(from_fn_with_state(server.clone(), access::guard))
        .layer(from_fn_with_state(server.clone(), count_request))
        .with_state(server)
}

/// Returns the error of a path that is not served, with what clients may have meant.
fn not_here(path: &str) -> ApiError {
    // Endpoints of OpenAI's API, by the first part of their names.
    const OTHERS: [(&str, &str); 4] = [
        ("responses", "POST /v1/chat/completions answers messages"),
        ("messages", "POST /v1/chat/completions answers messages"),
        ("rerank", "a server of embedding models"),
        ("batches", "`ewe complete` answers files of prompts"),
    ];
    const OURS: [&str; 4] = ["models", "completions", "chat", "embeddings"];
    let below = path.strip_prefix("/v1/");
    let first = below.unwrap_or(path.trim_start_matches('/')).split('/').next();
    let first = first.unwrap_or_default();
    let other = OTHERS.iter().find(|(name, _)| below.is_some() && *name == first);
    let hint = match other {
        Some((_, hint)) => *hint,
        None if below.is_none() && OURS.contains(&first) => "the base URL ends in /v1",
        None => "POST /v1/completions, /v1/chat/completions; GET /v1/models, /health, /metrics",
    };
    let message = format!("there is no `{}` here\nhint: {hint}", cut(path));
    let error = ApiError::new(StatusCode::NOT_FOUND, message);
    match other {
        Some(_) => error.coded("unsupported_endpoint"),
        None => error,
    }
}

/// `GET /`, for people who open the address in a browser.
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
async fn count_request(State(server): State<Arc<ServerState>>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let counter = Arc::new(RequestMetrics::new(
        server.metrics.clone(),
        path.map_or("other", MatchedPath::as_str),
    ));
    request.extensions_mut().insert(counter.clone());
    let response = next.run(request).await;
    counter.handled(response.status().as_u16());
    response
}

/// `POST /v1/embeddings`, which clients of OpenAI's API may try.
async fn no_embeddings() -> ApiError {
    ApiError::new(
        StatusCode::NOT_IMPLEMENTED,
        "embeddings are not offered here: the model continues texts and answers chats\nhint: a server of embedding models",
    )
    .coded("unsupported_endpoint")
}

/// Returns the health of a server that answers, by the devices that do not compute.
fn well(failures: &[DeviceFailure]) -> serde_json::Value {
    if failures.is_empty() {
        return json!({ "status": "ok" });
    }
    let devices = failures.iter();
    let devices = devices.map(|failure| json!({ "device": failure.device, "reason": failure.reason }));
    json!({ "status": "degraded", "devices": devices.collect::<Vec<_>>() })
}

/// `GET /health`.
async fn health(State(server): State<Arc<ServerState>>) -> Response {
    match server.backend.broken() {
        None => Json(well(&server.backend.engines().failures())).into_response(),
        Some(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({ "status": "broken", "reason": reason })),
        )
            .into_response(),
    }
}

/// `GET /metrics`.
async fn metrics(State(server): State<Arc<ServerState>>) -> impl IntoResponse {
    let engines = server.backend.engines();
    let text = server.metrics.text(&engines.devices(), engines.waiting());
    ([(header::CONTENT_TYPE, MEDIA_TYPE)], text)
}

/// `GET /v1/models`.
async fn list_models(State(server): State<Arc<ServerState>>) -> Json<serde_json::Value> {
    Json(models::list(&server.models, server.backend.room()))
}

/// `GET /v1/models/ID`.
async fn model(
    State(server): State<Arc<ServerState>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<serde_json::Value>, ApiError> {
    let Path(id) = id.map_err(|unread| ApiError::new(unread.status(), unread.body_text()))?;
    models::find(&id, &server.models, server.backend.room()).map(Json)
}

#[cfg(test)]
mod tests;
