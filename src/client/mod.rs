//! Models behind OpenAI-compatible endpoints: vLLM, llama.cpp, Ollama, TGI, hosted services.
//!
//! - [`endpoint`]: one of them, and one try at an answer.
//! - [`wire`]: what is sent and what comes back.
//! - [`failure`]: why a try failed.
//! - [`balancer`]: which endpoint is asked next.
//! - [`desk`], [`limit`], [`retry`]: what each bears, how many requests at once, and when again.
//! - [`key`]: what nobody may see.
//! - [`batch`]: the same questions and answers as lines of a file; [`results`]: files of answers; [`mailbox`]: a model
//!   that is asked through such files.

pub mod balancer;
pub mod batch;
pub mod desk;
pub mod endpoint;
pub mod failure;
pub mod key;
pub mod limit;
pub mod mailbox;
pub mod results;
pub mod retry;
pub mod wire;

use crate::backend::{Backend, BackendError, Completion, EndpointStatus, Sampling};
use balancer::{Balancer, Settings, Slot};
use desk::Standing;
use endpoint::{Api, Endpoint, EndpointConfig, chain};
use failure::Failure;
use futures::FutureExt;
use futures::future::BoxFuture;
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
    /// The most requests in flight at once, at each endpoint.
    pub concurrency: usize,
    /// How long one answer may take, from the first byte sent to the last one received.
    pub timeout: Duration,
    /// How often in a row an endpoint may fail, or a request while others are answered, and be tried again.
    pub retries: u32,
    /// The longest first wait after a failure; each further one is up to twice as long.
    pub backoff: Duration,
}

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
    /// Checks the settings; nothing is sent yet.
    pub fn new(config: Config) -> Result<Self, BackendError> {
        let name = name(&config)?;
        // A second call finds the provider set; that is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(config.timeout)
            .connect_timeout(Duration::from_secs(10))
            .redirect(Policy::custom(redirect))
            .user_agent(concat!("ewe/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| BackendError::Fatal(format!("no HTTP client: {}", chain(&error))))?;
        let settings = Settings {
            concurrency: config.concurrency,
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
            capacity: config.concurrency.max(1) * endpoints.len(),
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

    async fn ask(&self, prompt: String, sampling: Sampling) -> Result<Completion, BackendError> {
        let mut backoff = Backoff::new(self.backoff, sampling.seed);
        let request = self.asked.fetch_add(1, Ordering::Relaxed);
        // Failures that others did not share, which speak against this request and not against the endpoint.
        let mut tries = 0;
        let mut answered = self.balancer.answered();
        loop {
            let slot = self.balancer.slot(request).await;
            let endpoint = &self.endpoints[slot.endpoint()];
            let url = endpoint.url();
            let failure = match endpoint.ask(&self.http, &prompt, &sampling).await {
                Ok(completion) => {
                    note_answer(slot, url);
                    return Ok(completion);
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
                    return Err(BackendError::Request(format!("{error}, after {failures} tries")));
                }
                Standing::Gone(failures) => {
                    return Err(BackendError::Fatal(format!(
                        "endpoint '{url}': {error}, after {failures} tries\n\
                         hint: is the server up? what was answered so far is kept; run the same command to go on"
                    )));
                }
            }
            // Where the endpoint is at fault it pauses, and others can be asked at once.
            if failure.is_the_endpoint_s() {
                continue;
            }
            let now = self.balancer.answered();
            if now > answered {
                answered = now;
                tries += 1;
                if tries > self.retries {
                    return Err(BackendError::Request(format!(
                        "{error}, after {tries} tries while others were answered"
                    )));
                }
            }
            tokio::time::sleep(backoff.wait()).await;
        }
    }

    /// As [`Client::ask`], but ends when the whole client does, and ends it with an error that is fatal.
    async fn ask_until_the_end(
        &self,
        prompt: String,
        sampling: Sampling,
    ) -> Result<Completion, BackendError> {
        let mut ended = self.ended.subscribe();
        let answer = tokio::select! {
            answer = self.ask(prompt, sampling) => answer,
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

fn note_answer(slot: Slot<'_>, url: &str) {
    if slot.answered() {
        tracing::warn!("endpoint '{url}' is back");
    }
}

/// Names the model with where it is: the same name elsewhere may be other weights. The order of the endpoints makes no
/// difference. A chat that was asked for is part of the name, since it puts the question in other words; one that
/// `auto` came upon is not, since that server never answered otherwise.
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
        self.ask_until_the_end(prompt, sampling).boxed()
    }

    fn status(&self) -> Vec<EndpointStatus> {
        self.endpoints()
    }
}
