//! Models behind OpenAI-compatible endpoints: vLLM, llama.cpp, Ollama, TGI, hosted services.
//!
//! - [`endpoint`]: one endpoint, and one attempt to get a response from it; [`address`]: its URL.
//! - [`wire`]: the request; [`request_shape`]: its fields, renamed or left out; [`objection`]: the
//!   field that an error refuses; [`error_text`]: the words of an error; [`min_tokens`]: the least
//!   `max_tokens` that a server takes.
//! - [`reply`]: the response, often JSON with common mistakes ([`crate::lenient_json`]); [`body`]:
//!   its bytes, decompressed.
//! - [`failure`]: why an attempt failed.
//! - [`attempt`]: one attempt, at one endpoint or, if that is late, at two.
//! - [`balancer`]: the endpoint that gets the next request; [`health`], [`limit`], [`retry`]: its
//!   failures, its requests in flight, its waits.
//! - [`endpoint_list`]: a file of addresses; [`members`]: the endpoints of now, which follow it.
//! - [`key`]: API keys and other secrets; [`secret_encodings`]: the ways a server may quote them.
//! - [`batch`]: lines of batch files; [`batch_results`]: files of results; [`batch_backend`]: a
//!   backend that reads and writes such files.

pub mod address;
pub mod attempt;
pub mod balancer;
pub mod batch;
pub mod batch_backend;
pub mod batch_results;
pub mod body;
pub mod endpoint;
pub mod endpoint_list;
pub mod error_text;
pub mod failure;
pub mod health;
pub mod key;
pub mod limit;
pub mod members;
pub mod min_tokens;
pub mod objection;
pub mod reply;
pub mod request_shape;
pub mod retry;
pub mod secret_encodings;
pub mod wire;

use crate::backend::{
    Backend, BackendError, Completion, EndpointStatus, FinishReason, Leave, Prompt, Question, Sampling,
    Unbounded,
};
use crate::reasoning;
use crate::text::chosen;
use attempt::EndedAttempt;
use balancer::{Share, Slot};
use endpoint::{Answered, Api, Endpoint, EndpointConfig, chain};
use failure::{FailureKind, RequestFailure, TransientFailure};
use futures::FutureExt;
use futures::future::BoxFuture;
use health::Standing;
use limit::EndpointLimits;
use members::{EndpointList, Members};
use reqwest::redirect::{Attempt, Policy};
use retry::Backoff;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How to reach a model at one endpoint or several.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The endpoints, which must serve the same weights. With a list, one, whose address is passed
    /// over.
    pub endpoints: Vec<EndpointConfig>,
    /// The file that has the addresses of the endpoints, and is read again and again.
    pub list: Option<PathBuf>,
    /// Completions or chat.
    pub api: Api,
    /// The most requests in flight at each endpoint. `None`: as many as it can take.
    pub concurrency: Option<usize>,
    /// How long one response may take, from the first byte sent to the last one received.
    pub timeout: Duration,
    /// How many failures in a row are followed by another attempt: failures of an endpoint, or of a
    /// request while others are answered.
    pub retries: u32,
    /// The longest first wait after a failure. Each further wait is up to twice as long.
    pub backoff: Duration,
}

/// The most requests in flight at an endpoint if `--concurrency` is not given.
const MOST_AT_ONCE: usize = 256;
/// How long the first request to an endpoint goes ahead alone, unless it is answered sooner. A
/// field that the server refuses in it would be refused in all others.
const AHEAD: Duration = Duration::from_secs(1);

/// What the name of a model that is asked as chat ends in.
const CHAT: &str = " (chat)";

/// A model behind one endpoint or several. Each endpoint has its own adaptive limit of requests in
/// flight. The next request goes where it is likely to be answered soonest, of those with room.
pub struct Client {
    http: reqwest::Client,
    members: Arc<Members>,
    /// Follows the list, if there is one.
    follower: Option<JoinHandle<()>>,
    retries: u32,
    backoff: Duration,
    capacity: usize,
    name: String,
    api: Api,
    /// The number of requests so far, which numbers the requests.
    asked: AtomicU64,
    /// The error that ended the client. All waiting requests end with the same error, at once.
    ended: watch::Sender<Option<String>>,
}

impl Client {
    /// Checks the settings. Nothing is sent, unless the model of an endpoint has no name: then the
    /// server is asked for it.
    ///
    /// # Errors
    ///
    /// If the settings are wrong, or a server has no model, or several, and none was named.
    pub async fn new(mut config: ClientConfig) -> Result<Self, BackendError> {
        // Fails if the provider is set already, which does no harm.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(config.timeout)
            .connect_timeout(Duration::from_secs(10))
            .redirect(Policy::custom(redirect))
            .user_agent(concat!("ewe/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| BackendError::Fatal(format!("no HTTP client: {}", chain(&error))))?;
        let listed = config.list.take().map(EndpointList::read).transpose()?;
        match &listed {
            Some(list) => list.name_model(&mut config.endpoints, &http, config.api).await?,
            None => {
                for endpoint in &mut config.endpoints {
                    name_model(endpoint, &http, config.api).await?;
                }
            }
        }
        let name = name(&config, listed.as_ref())?;
        let most = config.concurrency.unwrap_or(MOST_AT_ONCE);
        let limits = EndpointLimits {
            concurrency: most,
            slow: config.concurrency.is_none().then_some(config.timeout / 4),
            ahead: AHEAD,
            retries: config.retries,
            backoff: config.backoff,
        };
        let members = Members::new(limits);
        // Commands ask for the capacity once, and a list may grow.
        let most_endpoints = match &listed {
            Some(list) => list.count() * 4,
            None => config.endpoints.len(),
        };
        let follower = match listed {
            Some(list) => Some(members.follow(list, config.endpoints.swap_remove(0), config.api)?),
            None => {
                for endpoint in config.endpoints {
                    members.join(Endpoint::new(endpoint, config.api)?, Share::default());
                }
                None
            }
        };
        Ok(Client {
            http,
            retries: config.retries,
            backoff: config.backoff,
            capacity: members.balancer().capacity(most_endpoints),
            members,
            follower,
            name,
            api: config.api,
            asked: AtomicU64::new(0),
            ended: watch::Sender::new(None),
        })
    }

    /// Prepares a client for questions ([`Backend::ask`]): with `--api auto`, they are asked as
    /// chat wherever a server can chat, and the model's name says so.
    pub fn for_questions(mut self) -> Client {
        if self.api == Api::Auto {
            self.name.push_str(CHAT);
        }
        self
    }

    /// Returns the state of each endpoint, in the order in which they were given.
    pub fn endpoints(&self) -> Vec<EndpointStatus> {
        self.members.status()
    }

    /// Gets a completion of a prompt, with as many attempts as allowed.
    async fn ask(
        &self,
        prompt: Prompt<'_>,
        sampling: Sampling,
        leave: &dyn Leave,
    ) -> Result<Completion, BackendError> {
        let mut backoff = Backoff::new(self.backoff, sampling.seed);
        let request = self.asked.fetch_add(1, Ordering::Relaxed);
        // Failures while others were answered: these blame the request, not the endpoint.
        let mut tries = 0;
        let mut answered = self.members.balancer().answered();
        let mut asked_for_more = false;
        loop {
            wanted(leave, leave.request()).await??;
            let slot = wanted(leave, self.members.balancer().slot(request)).await?;
            let attempt = self.attempt(slot, prompt, &sampling, leave).await;
            let EndedAttempt {
                slot,
                endpoint,
                answer,
            } = attempt;
            let url = endpoint.url();
            let failure = match answer {
                Ok(answer) => {
                    note_answer(slot, url);
                    if asked_for_more || !may_have_text(&endpoint, &answer, &sampling) {
                        return Ok(answer.completion);
                    }
                    asked_for_more = true;
                    leave.in_vain(Ok(&answer.completion));
                    continue;
                }
                Err(RequestFailure::Permanent(BackendError::Fatal(error))) if self.follower.is_some() => {
                    // One of many servers, which may start or stop at this moment.
                    self.members.without(slot, url, error)?;
                    leave.refund();
                    continue;
                }
                Err(RequestFailure::Permanent(error)) => {
                    note_answer(slot, url);
                    return Err(error);
                }
                Err(RequestFailure::Transient(failure)) => failure,
            };
            let error = &failure.error;
            after_failure(slot.failed(&failure, tries > 0), url, &failure)?;
            // If the endpoint is to blame, it pauses, and others can be tried at once.
            if failure.is_the_endpoint_s() {
                leave.refund();
                continue;
            }
            leave.in_vain(Err(error));
            let now = self.members.balancer().answered();
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

    /// Like [`Client::ask`], but a fatal error ends the whole client, and with it all other
    /// requests.
    async fn ask_until_the_end(
        &self,
        prompt: Prompt<'_>,
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

/// Waits for something until the request is withdrawn.
async fn wanted<T>(leave: &dyn Leave, wait: impl Future<Output = T>) -> Result<T, BackendError> {
    tokio::select! {
        biased;
        done = wait => Ok(done),
        () = leave.withdrawn() => Err(BackendError::Withdrawn),
    }
}

/// Whether another attempt may get a text where this answer has none: nothing came although it was
/// not cut off, or a stop string occurred within the reasoning.
fn may_have_text(endpoint: &Endpoint, answer: &Answered, sampling: &Sampling) -> bool {
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

/// Tells of a failure at `url`.
///
/// # Errors
///
/// If the request, or any request, is not to be tried again.
fn after_failure(standing: Standing, url: &str, failure: &TransientFailure) -> Result<(), BackendError> {
    let error = &failure.error;
    match standing {
        Standing::Up => tracing::info!("endpoint '{url}': {error}; trying again"),
        Standing::Aside(time) => {
            tracing::warn!("endpoint '{url}': {error}; it is set aside for {time:?}, the others go on");
        }
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
    Ok(())
}

/// Asks what the user should check about an endpoint that gave no answer.
fn doubt(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Unreadable => {
            "is this the address of an OpenAI-compatible API, and --api the way to ask it"
        }
        FailureKind::Busy | FailureKind::Unreachable | FailureKind::Broken => "is the server up",
    }
}

/// Notes an answer, and logs if the endpoint is back.
fn note_answer(slot: Slot<'_>, url: &str) {
    if slot.answered() {
        tracing::warn!("endpoint '{url}' is back");
    }
}

/// Asks for the name of the only model of an endpoint, unless it has one.
async fn name_model(
    endpoint: &mut EndpointConfig,
    http: &reqwest::Client,
    api: Api,
) -> Result<(), BackendError> {
    if endpoint.model.is_empty() {
        endpoint.model = Endpoint::new(endpoint.clone(), api)?.only_model(http).await?;
        tracing::info!(
            "endpoint '{}' has the model '{}'",
            endpoint.url,
            wire::excerpt(&endpoint.model)
        );
    }
    Ok(())
}

/// Returns the name of the model, with its address: the same name elsewhere may be other weights.
/// The order of the endpoints makes no difference. Endpoints of a list come and go, so their common
/// name is that of the file, without its folder. `--api chat` is part of the name, since it
/// changes the prompt; chat that `auto` chose is not, since such a server never answered otherwise.
/// Added fields are part of the name; fields renamed or left out are not.
fn name(config: &ClientConfig, list: Option<&EndpointList>) -> Result<String, BackendError> {
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
    let name = if let Some(list) = list {
        format!("{first} at the endpoints of {}", list.name())
    } else if first == last {
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
        Api::Chat => name + CHAT,
        Api::Completions | Api::Auto => name,
    })
}

/// Follows redirects that keep the method and the server. Neither key nor prompt may go anywhere
/// else.
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

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(follower) = &self.follower {
            follower.abort();
        }
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
        async move {
            self.ask_until_the_end(Prompt::Text(&prompt), sampling, leave)
                .await
        }
        .boxed()
    }

    fn ask<'a>(
        &'a self,
        question: &'a Question,
        sampling: Sampling,
        leave: &'a dyn Leave,
    ) -> BoxFuture<'a, Result<Completion, BackendError>> {
        self.ask_until_the_end(Prompt::Question(question), sampling, leave)
            .boxed()
    }

    fn status(&self) -> Vec<EndpointStatus> {
        self.endpoints()
    }
}
