//! Models behind an OpenAI-compatible endpoint: vLLM, llama.cpp, Ollama, TGI, hosted services.
//!
//! - [`wire`]: what is sent and what comes back.
//! - [`retry`]: which failures pass, and how long to wait.

pub mod retry;
pub mod wire;

use crate::backend::{Backend, BackendError, Completion, Sampling};
use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::StatusCode;
use retry::{Backoff, retry_after};
use std::time::Duration;

/// How to reach a model.
#[derive(Debug, Clone)]
pub struct Config {
    /// Up to and including `/v1`.
    pub endpoint: String,
    /// The model's name there.
    pub model: String,
    /// Sent as a bearer token; never stored or logged.
    pub api_key: Option<String>,
    /// Requests in flight at once.
    pub concurrency: usize,
    /// How long one answer may take.
    pub timeout: Duration,
    /// How often a failed request is tried again.
    pub retries: u32,
}

/// A model behind an endpoint.
pub struct Client {
    http: reqwest::Client,
    config: Config,
    url: String,
    permits: tokio::sync::Semaphore,
    /// The model with its endpoint: the same name elsewhere may be other weights.
    name: String,
}

impl Client {
    /// Checks the settings; nothing is sent yet.
    pub fn new(config: Config) -> Result<Self, BackendError> {
        let fatal = |error: String| BackendError::Fatal(format!("endpoint '{}': {error}", config.endpoint));
        let base = reqwest::Url::parse(&config.endpoint).map_err(|error| {
            fatal(format!(
                "{error}\nhint: give an address like http://127.0.0.1:8000/v1"
            ))
        })?;
        // A second call finds the provider set; that is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(config.timeout)
            .connect_timeout(Duration::from_secs(10))
            .user_agent(concat!("ewe/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| fatal(chain(&error)))?;
        let url = format!("{}/completions", base.as_str().trim_end_matches('/'));
        let name = format!("{} at {}", config.model, config.endpoint);
        let permits = tokio::sync::Semaphore::new(config.concurrency.max(1));
        Ok(Client {
            http,
            url,
            name,
            permits,
            config,
        })
    }

    async fn ask(&self, prompt: String, sampling: Sampling) -> Result<Completion, BackendError> {
        let _permit = self
            .permits
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let body = wire::CompletionRequest::new(&self.config.model, &prompt, &sampling);
        let mut backoff = Backoff::new(sampling.seed);
        loop {
            let (error, wait) = match self.try_once(&body).await {
                Ok(completion) => return Ok(completion),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(error, wait)) => (error, wait),
            };
            if backoff.tries() >= self.config.retries {
                return Err(BackendError::Fatal(format!(
                    "{}: {error}, after {} tries\nhint: is the server up? what was answered so far is kept; run the same command to go on",
                    self.url,
                    backoff.tries() + 1
                )));
            }
            tracing::info!("{error}; trying again");
            tokio::time::sleep(backoff.next(wait)).await;
        }
    }

    async fn try_once(&self, body: &wire::CompletionRequest<'_>) -> Result<Completion, Failure> {
        let mut request = self.http.post(&self.url).json(body);
        if let Some(key) = &self.config.api_key {
            request = request.bearer_auth(key);
        }
        let response = request
            .send()
            .await
            .map_err(|error| Failure::Passing(chain(&error), None))?;
        let status = response.status();
        let wait = retry_after(response.headers());
        let text = response
            .text()
            .await
            .map_err(|error| Failure::Passing(chain(&error), None))?;
        if !status.is_success() {
            let error = format!("the server answered {status}: {}", wire::error_message(&text));
            return Err(match status {
                StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS => {
                    Failure::Passing(error, wait)
                }
                status if status.is_server_error() => Failure::Passing(error, wait),
                StatusCode::BAD_REQUEST
                | StatusCode::PAYLOAD_TOO_LARGE
                | StatusCode::UNPROCESSABLE_ENTITY => Failure::Final(BackendError::Request(error)),
                _ => Failure::Final(BackendError::Fatal(format!("{}: {error}", self.url))),
            });
        }
        wire::completion(&text).map_err(|error| Failure::Passing(error, None))
    }
}

/// Whether trying again can help, and when the server wants to be asked again.
enum Failure {
    Passing(String, Option<Duration>),
    Final(BackendError),
}

/// reqwest's outermost message says little; the cause is at the end of the chain.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

impl Backend for Client {
    fn model(&self) -> &str {
        &self.name
    }

    fn capacity(&self) -> usize {
        self.config.concurrency
    }

    fn complete(
        &self,
        prompt: String,
        sampling: Sampling,
    ) -> BoxFuture<'_, Result<Completion, BackendError>> {
        self.ask(prompt, sampling).boxed()
    }
}
