//! One endpoint: where it is, which dialect it speaks, and one try at getting an answer from it.

use super::failure::{Failure, Kind, Passing};
use super::key::ApiKey;
use super::retry::retry_after;
use super::wire::{self, Dialect};
use crate::backend::{BackendError, Completion, Sampling};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{StatusCode, Url};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of a body that are read. No answer of a few thousand tokens comes near it.
const LONGEST_BODY: usize = 16 << 20;

/// Which way of asking an endpoint is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Api {
    /// /completions, which is what base models want
    Completions,
    /// /chat/completions, with a system message that asks to continue the text
    Chat,
    /// /completions, or /chat/completions where a server has only that
    Auto,
}

/// How to reach a model at one address.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// The address, up to and including `/v1`.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// Sent as a bearer token.
    pub key: ApiKey,
}

/// An endpoint.
pub struct Endpoint {
    config: EndpointConfig,
    base: String,
    authorization: Option<HeaderValue>,
    api: Api,
    /// What `auto` found out.
    spoken: OnceLock<Dialect>,
    /// Whether it was said that it counts no tokens.
    uncounted: AtomicBool,
}

/// Why a try in one dialect brought no answer.
enum Refusal {
    /// The server does not have this path, or not for this model.
    Missing(String),
    Other(Failure),
}

impl<T: Into<Failure>> From<T> for Refusal {
    fn from(failure: T) -> Self {
        Refusal::Other(failure.into())
    }
}

impl Endpoint {
    /// Checks the address; nothing is sent yet.
    pub fn new(config: EndpointConfig, api: Api) -> Result<Self, BackendError> {
        let wrong = |url: &str, error: &str, hint: &str| {
            BackendError::Fatal(format!("endpoint '{url}': {error}\nhint: {hint}"))
        };
        let example = "give an address like http://127.0.0.1:8000/v1";
        let base =
            Url::parse(&config.url).map_err(|error| wrong(&config.url, &error.to_string(), example))?;
        // The address is stored and shown, so nothing secret may be in it.
        if !base.username().is_empty() || base.password().is_some() || base.query().is_some() {
            let host = base.host_str().unwrap_or_default();
            return Err(wrong(
                host,
                "the address holds a password or a query, and addresses are stored with the dataset",
                "put the key into an environment variable and name it with --api-key-env",
            ));
        }
        if !matches!(base.scheme(), "http" | "https") || base.fragment().is_some() {
            return Err(wrong(&config.url, "this is no address of an endpoint", example));
        }
        Ok(Endpoint {
            base: base.as_str().trim_end_matches('/').to_string(),
            authorization: config.key.header(),
            config,
            api,
            spoken: OnceLock::new(),
            uncounted: AtomicBool::new(false),
        })
    }

    /// The address, as it was given.
    pub fn url(&self) -> &str {
        &self.config.url
    }

    /// The model's name there.
    pub fn model(&self) -> &str {
        &self.config.model
    }

    /// Asks once, or twice while it is not known which dialect it speaks.
    pub async fn ask(
        &self,
        http: &reqwest::Client,
        prompt: &str,
        sampling: &Sampling,
    ) -> Result<Completion, Failure> {
        let asked = |dialect| self.ask_in(dialect, http, prompt, sampling);
        let answer = match (self.api, self.spoken.get()) {
            (Api::Completions, _) => asked(Dialect::Completions).await,
            (Api::Chat, _) => asked(Dialect::Chat).await,
            (Api::Auto, Some(dialect)) => asked(*dialect).await,
            (Api::Auto, None) => match asked(Dialect::Completions).await {
                Err(Refusal::Missing(error)) => match asked(Dialect::Chat).await {
                    Err(Refusal::Missing(_)) => Err(Refusal::Missing(error)),
                    answer => self.remember(Dialect::Chat, answer),
                },
                answer => self.remember(Dialect::Completions, answer),
            },
        };
        let completion = answer.map_err(|refusal| match refusal {
            Refusal::Missing(error) => Failure::Final(BackendError::Fatal(error)),
            Refusal::Other(failure) => failure,
        })?;
        if completion.prompt_tokens + completion.completion_tokens == 0
            && !self.uncounted.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                "endpoint '{}' does not say how many tokens it used; they count as 0, for budgets too",
                self.url()
            );
        }
        Ok(completion)
    }

    fn remember<T>(&self, dialect: Dialect, answer: Result<T, Refusal>) -> Result<T, Refusal> {
        if answer.is_ok() && self.spoken.set(dialect).is_ok() {
            tracing::info!("endpoint '{}' is asked at {}", self.url(), dialect.path());
        }
        answer
    }

    async fn ask_in(
        &self,
        dialect: Dialect,
        http: &reqwest::Client,
        prompt: &str,
        sampling: &Sampling,
    ) -> Result<Completion, Refusal> {
        let url = format!("{}{}", self.base, dialect.path());
        let body = wire::Request::new(dialect, self.model(), prompt, sampling);
        let body = serde_json::to_vec(&body).expect("a request is plain values");
        let mut request = http
            .post(&url)
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let response = request.send().await.map_err(transport)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let (body, end) = read(response).await;
        if !status.is_success() {
            return Err(self.refusal(&url, status, &headers, &String::from_utf8_lossy(&body)));
        }
        end?;
        let body = String::from_utf8(body).map_err(|error| {
            let place = error.utf8_error().valid_up_to();
            Passing::new(
                Kind::Unreadable,
                format!("the server's answer is no UTF-8 from byte {place} on"),
            )
        })?;
        wire::completion(&body).map_err(|failure| {
            let shown = wire::excerpt(&self.config.key.redact(&body));
            match failure {
                Failure::Passing(passing) => Refusal::from(Passing {
                    error: format!("{}: '{shown}'", passing.error),
                    ..passing
                }),
                failure => Refusal::from(failure),
            }
        })
    }

    /// What a status other than success means.
    fn refusal(&self, url: &str, status: StatusCode, headers: &HeaderMap, body: &str) -> Refusal {
        let words = |text: &str| wire::excerpt(&self.config.key.redact(text));
        let error = format!(
            "the server answered {status}: {}",
            words(&wire::error_message(body))
        );
        let fatal = |hint: &str| {
            let hint = if hint.is_empty() {
                String::new()
            } else {
                format!("\nhint: {hint}")
            };
            format!("{url}: {error}{hint}")
        };
        let passing = |kind| {
            let retry_after = retry_after(headers);
            Passing {
                kind: retry_after.map_or(kind, |_| Kind::Busy),
                error: error.clone(),
                retry_after,
            }
        };
        let fatally = |hint: &str| Failure::Final(BackendError::Fatal(fatal(hint))).into();
        match status {
            StatusCode::TOO_MANY_REQUESTS if wire::is_out_of_quota(body) => fatally(""),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => passing(Kind::Busy).into(),
            StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT => passing(Kind::Broken).into(),
            status if status.is_server_error() => passing(Kind::Broken).into(),
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
                Failure::Final(BackendError::Request(error)).into()
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => fatally(&self.config.key.hint()),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Refusal::Missing(fatal(&format!(
                "is the address right up to /v1, and does it have the model '{}'?",
                self.model()
            ))),
            status if status.is_redirection() => {
                let place = headers.get(LOCATION).map_or("nowhere".into(), |place| {
                    words(&String::from_utf8_lossy(place.as_bytes()))
                });
                fatally(&format!(
                    "it redirects to '{place}', where no key is sent; give that address if it is the right one"
                ))
            }
            _ => fatally(""),
        }
    }
}

/// The body, as far as it came, and whether that is all of it.
async fn read(mut response: reqwest::Response) -> (Vec<u8>, Result<(), Passing>) {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(None) => return (body, Ok(())),
            Ok(Some(chunk)) if body.len() + chunk.len() <= LONGEST_BODY => body.extend_from_slice(&chunk),
            Ok(Some(_)) => {
                let error = format!("the server's answer is longer than {} MiB", LONGEST_BODY >> 20);
                return (body, Err(Passing::new(Kind::Unreadable, error)));
            }
            Err(error) => return (body, Err(transport(error))),
        }
    }
}

/// What went wrong below HTTP.
fn transport(error: reqwest::Error) -> Passing {
    let kind = if error.is_connect() {
        Kind::Unreachable
    } else {
        Kind::Broken
    };
    Passing::new(kind, chain(&error))
}

/// reqwest's outermost message says little; the cause is at the end of the chain.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
