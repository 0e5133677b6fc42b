//! Models behind OpenAI-compatible endpoints: vLLM, llama.cpp, Ollama, TGI, hosted services.
//!
//! - [`endpoint`]: one of them, and one try at an answer; [`address`]: where it is.
//! - [`wire`]: what is sent; [`shape`]: under which names, and what is left out; [`objection`]: what a server has against it,
//!   in the words of [`said`]; [`least`]: how few tokens it lets one ask for.
//! - [`reply`]: what comes back; [`body`]: however it was packed; [`lenient`]: also where it is not quite JSON.
//! - [`failure`]: why a try failed.
//! - [`balancer`]: which endpoint is asked next.
//! - [`health`], [`limit`], [`retry`]: what each bears, how many requests at once, and when again.
//! - [`key`]: what nobody may see, in whatever [`spelling`].
//! - [`batch`]: the same questions and answers as lines of a file; [`results`]: files of answers; [`batch_backend`]: a model
//!   that is asked through such files.

pub mod address;
pub mod balancer;
pub mod batch;
pub mod batch_backend;
pub mod body;
pub mod endpoint;
pub mod failure;
pub mod health;
pub mod key;
pub mod least;
pub mod lenient;
pub mod limit;
pub mod objection;
pub mod reply;
pub mod results;
pub mod retry;
pub mod said;
pub mod shape;
pub mod spelling;
pub mod wire;

use crate::backend::{
    Backend, BackendError, Completion, EndpointStatus, FinishReason, Leave, Sampling, Unbounded,
};
use crate::reasoning;
use crate::text::chosen;
use balancer::{Balancer, Settings, Slot};
use endpoint::{Answered, Api, Endpoint, EndpointConfig, chain};
use failure::{Failure, Kind};
use futures::FutureExt;
use futures::future::BoxFuture;
use health::Standing;
use reqwest::redirect::{Attempt, Policy};
use retry::Backoff;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// How to reach a model, at one address or at several.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it is served: the same weights everywhere.
    pub endpoints: Vec<EndpointConfig>,
    /// Which way of asking is used.
    pub api: Api,
    /// The most requests in flight at once, at each endpoint; where nobody says, as many as it bears.
    pub concurrency: Option<usize>,
    /// How long one answer may take, from the first byte sent to the last one received.
    pub timeout: Duration,
    /// How often in a row an endpoint may fail, or a request while others are answered, and be tried again.
    pub retries: u32,
    /// The longest first wait after a failure; each further one is up to twice as long.
    pub backoff: Duration,
}

/// The most requests in flight at an endpoint where nobody says.
const MOST_AT_ONCE: usize = 256;
/// How long the first request to an endpoint goes ahead alone, unless it is answered sooner: what the server refuses about
/// it, it would refuse about all of them.
const AHEAD: Duration = Duration::from_secs(1);

/// A model behind one endpoint or several. Each has its own limit of requests in flight, which adapts to what it
/// bears; the next request goes where most room is.
pub struct Client {
    http: reqwest::Client,
    endpoints: Vec<Endpoint>,
    balancer: Balancer,
    retries: u32,
    backoff: Duration,
    capacity: usize,
    name: String,
    /// Requests so far; tells them apart.
    asked: AtomicU64,
    /// The error that ended it. What still waits for an answer then ends with the same error, at once.
    ended: watch::Sender<Option<String>>,
}

impl Client {
    /// Checks the settings. Nothing is sent yet, unless an endpoint's model has no name: then the server is asked for it.
    ///
    /// # Errors
    ///
    /// What is wrong with the settings, or why a server's only model is not known.
    pub async fn new(mut config: Config) -> Result<Self, BackendError> {
        // A second call finds the provider set; that is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(config.timeout)
            .connect_timeout(Duration::from_secs(10))
            .redirect(Policy::custom(redirect))
            .user_agent(concat!("ewe/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| BackendError::Fatal(format!("no HTTP client: {}", chain(&error))))?;
        for endpoint in &mut config.endpoints {
            if endpoint.model.is_empty() {
                endpoint.model = Endpoint::new(endpoint.clone(), config.api)?
                    .only_model(&http)
                    .await?;
                tracing::info!(
                    "endpoint '{}' has the model '{}'",
                    endpoint.url,
                    wire::excerpt(&endpoint.model)
                );
            }
        }
        let name = name(&config)?;
        let most = config.concurrency.unwrap_or(MOST_AT_ONCE);
        let settings = Settings {
            concurrency: most,
            slow: config.concurrency.is_none().then_some(config.timeout / 4),
            ahead: AHEAD,
            retries: config.retries,
            backoff: config.backoff,
        };
        let endpoints = config
            .endpoints
            .into_iter()
            .map(|endpoint| Endpoint::new(endpoint, config.api))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Client {
            http,
            balancer: Balancer::new(endpoints.len(), settings),
            retries: config.retries,
            backoff: config.backoff,
            capacity: most.max(1) * endpoints.len(),
            endpoints,
            name,
            asked: AtomicU64::new(0),
            ended: watch::Sender::new(None),
        })
    }

    /// How each endpoint is doing, in the order in which they were given.
    pub fn endpoints(&self) -> Vec<EndpointStatus> {
        self.balancer.status(self.endpoints.iter().map(Endpoint::url))
    }

    async fn ask(
        &self,
        prompt: String,
        sampling: Sampling,
        leave: &dyn Leave,
    ) -> Result<Completion, BackendError> {
        let mut backoff = Backoff::new(self.backoff, sampling.seed);
        let request = self.asked.fetch_add(1, Ordering::Relaxed);
        // Failures that others did not share, which speak against this request and not against the endpoint.
        let mut tries = 0;
        let mut answered = self.balancer.answered();
        let mut asked_for_more = false;
        loop {
            wanted(leave, leave.request()).await??;
            let slot = wanted(leave, self.balancer.slot(request)).await?;
            let endpoint = &self.endpoints[slot.endpoint()];
            let url = endpoint.url();
            let failure = match endpoint.ask(&self.http, &prompt, &sampling, leave).await {
                Ok(answer) => {
                    note_answer(slot, url);
                    if asked_for_more || !misses_something(endpoint, &answer, &sampling) {
                        return Ok(answer.completion);
                    }
                    asked_for_more = true;
                    continue;
                }
                Err(Failure::Final(error)) => {
                    note_answer(slot, url);
                    return Err(error);
                }
                Err(Failure::Passing(failure)) => failure,
            };
            let error = &failure.error;
            match slot.failed(&failure, tries > 0) {
                Standing::Up => tracing::info!("endpoint '{url}': {error}; trying again"),
                Standing::Aside(time) => tracing::warn!(
                    "endpoint '{url}': {error}; it is set aside for {time:?}, the others go on"
                ),
                Standing::Alone(failures) => {
                    return Err(BackendError::Request(format!(
                        "{error}, after {}",
                        chosen(failures, "try", "tries")
                    )));
                }
                Standing::Gone(failures) => {
                    return Err(BackendError::Fatal(format!(
                        "endpoint '{url}': {error}, after {}\n\
                         hint: {}? what was answered so far is kept; run the same command to go on",
                        chosen(failures, "try", "tries"),
                        doubt(failure.kind)
                    )));
                }
            }
            // Where the endpoint is at fault it pauses, and others can be asked at once.
            if failure.is_the_endpoint_s() {
                leave.refund();
                continue;
            }
            let now = self.balancer.answered();
            if now > answered {
                answered = now;
                tries += 1;
                if tries > self.retries {
                    return Err(BackendError::Request(format!(
                        "{error}, after {} while others were answered",
                        chosen(tries, "try", "tries")
                    )));
                }
            }
            wanted(leave, tokio::time::sleep(backoff.wait())).await?;
        }
    }

    /// As [`Client::ask`], but ends when the whole client does, and ends it with an error that is fatal.
    async fn ask_until_the_end(
        &self,
        prompt: String,
        sampling: Sampling,
        leave: &dyn Leave,
    ) -> Result<Completion, BackendError> {
        let mut ended = self.ended.subscribe();
        let answer = tokio::select! {
            answer = self.ask(prompt, sampling, leave) => answer,
            error = ended.wait_for(Option::is_some) => {
                let error = error.ok().and_then(|error| error.clone());
                Err(BackendError::Fatal(error.expect("the sender lives in `self`, and was waited for")))
            }
        };
        if let Err(BackendError::Fatal(error)) = &answer {
            self.ended.send_if_modified(|first| {
                let is_first = first.is_none();
                first.get_or_insert_with(|| error.clone());
                is_first
            });
        }
        answer
    }
}

/// Waits for something as long as the answer that it is for is wanted.
async fn wanted<T>(leave: &dyn Leave, wait: impl Future<Output = T>) -> Result<T, BackendError> {
    tokio::select! {
        biased;
        done = wait => Ok(done),
        () = leave.withdrawn() => Err(BackendError::Withdrawn),
    }
}

/// Whether an answer without text may have one when it is asked for once more: none came at all, though nothing cut it off;
/// or a stop string met the model's thoughts.
fn misses_something(endpoint: &Endpoint, answer: &Answered, sampling: &Sampling) -> bool {
    let completion = &answer.completion;
    if completion.refusal.is_some() || completion.finish_reason == FinishReason::Length {
        return false;
    }
    let split = reasoning::split(&completion.text);
    let text = split.as_ref().map_or(&completion.text, |split| &split.answer);
    let thought = split
        .as_ref()
        .map_or(&completion.reasoning, |split| &split.reasoning);
    if !text.trim().is_empty() {
        return false;
    }
    if thought.trim().is_empty() {
        return !answer.has_text;
    }
    let is_cut = answer.knew_stop && !sampling.stop.is_empty();
    if is_cut {
        endpoint.leave_stop_out();
    }
    is_cut
}

/// What to look at where an endpoint gave nothing.
fn doubt(kind: Kind) -> &'static str {
    match kind {
        Kind::Unreadable => "is this the address of an OpenAI-compatible API, and --api the way to ask it",
        Kind::Busy | Kind::Unreachable | Kind::Broken => "is the server up",
    }
}

fn note_answer(slot: Slot<'_>, url: &str) {
    if slot.answered() {
        tracing::warn!("endpoint '{url}' is back");
    }
}

/// Names the model with where it is: the same name elsewhere may be other weights. The order of the endpoints makes no
/// difference. A chat that was asked for is part of the name, since it puts the question in other words; one that
/// `auto` came upon is not, since that server never answered otherwise. Fields that are added are part of it, too; those
/// that have another name, or are left out, are not.
fn name(config: &Config) -> Result<String, BackendError> {
    let mut places: Vec<(&str, &str)> = config
        .endpoints
        .iter()
        .map(|endpoint| (endpoint.model.as_str(), endpoint.url.as_str()))
        .collect();
    places.sort_unstable();
    let mut urls: Vec<&str> = places.iter().map(|(_, url)| url.trim_end_matches('/')).collect();
    urls.sort_unstable();
    if let Some(twice) = urls.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(BackendError::Fatal(format!(
            "endpoint '{}' is given twice\nhint: give it once, with a larger --concurrency",
            twice[0]
        )));
    }
    let with = config
        .endpoints
        .first()
        .and_then(|endpoint| endpoint.shape.in_name());
    let Some(((first, _), (last, _))) = places.first().zip(places.last()) else {
        return Err(BackendError::Fatal("no endpoint was given".to_string()));
    };
    let name = if first == last {
        let urls: Vec<&str> = places.iter().map(|(_, url)| *url).collect();
        format!("{first} at {}", urls.join(", "))
    } else {
        let places = places.iter().map(|(model, url)| format!("{model} at {url}"));
        places.collect::<Vec<_>>().join(", ")
    };
    let name = match with {
        Some(fields) => format!("{name} with {fields}"),
        None => name,
    };
    Ok(match config.api {
        Api::Chat => format!("{name} (chat)"),
        Api::Completions | Api::Auto => name,
    })
}

/// Follows a redirect within one server that keeps the method. Anywhere else neither key nor prompt is to go.
fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let first = &attempt.previous()[0];
    let stays = first.origin() == attempt.url().origin();
    let keeps_the_method = matches!(attempt.status().as_u16(), 307 | 308);
    if stays && keeps_the_method && attempt.previous().len() <= 3 {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

impl Backend for Client {
    fn model(&self) -> &str {
        &self.name
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn complete(
        &self,
        prompt: String,
        sampling: Sampling,
    ) -> BoxFuture<'_, Result<Completion, BackendError>> {
        self.complete_with(prompt, sampling, &Unbounded)
    }

    fn complete_with<'a>(
        &'a self,
        prompt: String,
        sampling: Sampling,
        leave: &'a dyn Leave,
    ) -> BoxFuture<'a, Result<Completion, BackendError>> {
        self.ask_until_the_end(prompt, sampling, leave).boxed()
    }

    fn status(&self) -> Vec<EndpointStatus> {
        self.endpoints()
    }
}
