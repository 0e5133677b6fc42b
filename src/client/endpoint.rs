//! One endpoint: its address, its API, and one attempt to get a response from it.
//!
//! - [`learning`]: requests that are changed because of refusals.

mod learning;

use super::address::Address;
use super::body;
use super::failure::{FailureKind, RequestFailure, TransientFailure};
use super::key::{self, ApiKey, SecretHeader, Secrets};
use super::min_tokens;
use super::objection;
use super::reply::{self, End, Reply};
use super::request_shape::{Learnt, RequestShape};
use super::retry::retry_after;
use super::wire::{self, Dialect};
use crate::backend::{BackendError, Completion, Leave, Prompt, Sampling};
use learning::PreparedRequest;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION};
use serde_json::{Map, Value};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

/// The API of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Api {
    /// /completions, which base models need
    Completions,
    /// /chat/completions, with a system message that asks to continue the text
    Chat,
    /// /completions, or /chat/completions where a server has only that
    Auto,
}

/// How to reach a model at one endpoint.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// The address, up to and including `/v1`, or with the whole path.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// The option that sets the name, for hints.
    pub model_option: &'static str,
    /// Sent as a bearer token.
    pub key: ApiKey,
    /// Further headers.
    pub headers: Vec<SecretHeader>,
    /// Fields of requests that are renamed, left out or added.
    pub shape: RequestShape,
}

/// An endpoint, and what was learnt about it.
pub struct Endpoint {
    config: EndpointConfig,
    address: Address,
    headers: HeaderMap,
    secrets: Secrets,
    api: Api,
    /// The API that `auto` found.
    spoken: OnceLock<Dialect>,
    /// The fields that it refuses.
    learnt: Mutex<Learnt>,
    /// Whether the user was warned that it counts no tokens.
    uncounted: AtomicBool,
    /// Whether the user was warned about an unknown `finish_reason`.
    unknown_end: AtomicBool,
}

/// An answer, with what decides whether to ask for it once more.
pub struct Answered {
    /// The answer.
    pub completion: Completion,
    /// Whether the response has a text, even an empty one.
    pub has_text: bool,
    /// Whether stop strings were sent.
    pub knew_stop: bool,
}

/// Why an attempt with one API got no response.
enum Refusal {
    /// The server does not have this path, or this model.
    Missing(String),
    /// The server refuses the request.
    Refused(Refused),
    /// Anything else.
    Other(RequestFailure),
}

/// A refusal, from which a field to change may be learnt.
struct Refused {
    /// The body of the response.
    body: String,
    /// Whether it is about the request, so that fields which it names may be tried out.
    may_be_guessed: bool,
    failure: RequestFailure,
}

impl Refusal {
    fn refused(status: StatusCode, body: &str, failure: RequestFailure) -> Refusal {
        let is_about_request = matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY);
        Refusal::Refused(Refused {
            body: body.to_string(),
            may_be_guessed: is_about_request || objection::has_such_a_code(body),
            failure,
        })
    }
}

impl<T: Into<RequestFailure>> From<T> for Refusal {
    fn from(failure: T) -> Self {
        Refusal::Other(failure.into())
    }
}

impl Endpoint {
    /// Checks the address. Nothing is sent yet.
    pub fn new(config: EndpointConfig, api: Api) -> Result<Self, BackendError> {
        let address = Address::new(&config.url)?;
        let api = match (address.dialect(), api) {
            (None, api) => api,
            (Some(Dialect::Chat), Api::Chat | Api::Auto) => Api::Chat,
            (Some(Dialect::Completions), Api::Completions | Api::Auto) => Api::Completions,
            (Some(dialect), _) => {
                return Err(BackendError::Fatal(format!(
                    "endpoint '{}': the address ends in {}, and --api asks for something else\nhint: leave --api out",
                    config.url,
                    dialect.path()
                )));
            }
        };
        Ok(Endpoint {
            address,
            headers: key::headers(&config.key, &config.headers),
            secrets: Secrets::new(&config.key, &config.headers),
            config,
            api,
            spoken: OnceLock::new(),
            learnt: Mutex::default(),
            uncounted: AtomicBool::new(false),
            unknown_end: AtomicBool::new(false),
        })
    }

    /// Returns the address as it was given.
    pub fn url(&self) -> &str {
        &self.config.url
    }

    /// Returns the model's name at the endpoint.
    pub fn model(&self) -> &str {
        &self.config.model
    }

    /// Sends a request: twice while the API is unknown, and again whenever a refused field can be
    /// left out.
    pub async fn ask(
        &self,
        http: &reqwest::Client,
        prompt: Prompt<'_>,
        sampling: &Sampling,
        leave: &dyn Leave,
    ) -> Result<Answered, RequestFailure> {
        let asked = |dialect| self.ask_in(dialect, http, prompt, sampling, leave);
        let answer = match (self.api, self.spoken.get()) {
            (Api::Completions, _) => asked(Dialect::Completions).await,
            (Api::Chat, _) => asked(Dialect::Chat).await,
            (Api::Auto, Some(dialect)) => asked(*dialect).await,
            (Api::Auto, None) => {
                let (usual, other) = in_order(prompt);
                let first = asked(usual).await;
                let is_missing = match &first {
                    Err(Refusal::Missing(_)) => true,
                    Err(Refusal::Refused(refused)) => match usual {
                        Dialect::Completions => wire::wants_chat(&refused.body),
                        Dialect::Chat => wire::lacks_template(&refused.body),
                    },
                    _ => false,
                };
                if is_missing {
                    leave.follow_up();
                    match asked(other).await {
                        Err(Refusal::Missing(_)) => first,
                        answer => self.remember(other, answer),
                    }
                } else {
                    self.remember(usual, first)
                }
            }
        };
        let (reply, sent) = answer.map_err(|refusal| match refusal {
            Refusal::Missing(error) => RequestFailure::Permanent(BackendError::Fatal(error)),
            Refusal::Refused(Refused { failure, .. }) | Refusal::Other(failure) => failure,
        })?;
        if let End::Unknown(word) = &reply.end
            && !self.unknown_end.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                "endpoint '{}' ends answers with the finish_reason '{}', which nobody documents; where it does not count \
                 fewer tokens than were allowed, and the text is not too short for them, such an answer is taken for one that \
                 was cut off",
                self.url(),
                wire::excerpt(word)
            );
        }
        let has_text = reply.has_text;
        let completion = completion(reply, &sent, sampling);
        if completion.prompt_tokens + completion.completion_tokens == 0
            && !self.uncounted.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                "endpoint '{}' does not say how many tokens it used; they count as 0, for budgets too",
                self.url()
            );
        }
        Ok(Answered {
            completion,
            has_text,
            knew_stop: sent.knows_stop,
        })
    }

    /// Stops sending stop strings, since one of them ended the reasoning. From now on they are
    /// applied here.
    pub fn leave_stop_out(&self) {
        let is_news = self
            .learnt
            .lock()
            .expect("nobody panics with it")
            .leave_stop_out();
        if is_news {
            tracing::warn!(
                "endpoint '{}': the model's reasoning ends at a stop string before its answer begins; `stop` is left out \
                 from now on, and answers are cut where it says so",
                self.url()
            );
        }
    }

    /// Remembers the API if its path exists, whatever the response was.
    fn remember<T>(&self, dialect: Dialect, answer: Result<T, Refusal>) -> Result<T, Refusal> {
        let is_there = match &answer {
            Ok(_) => true,
            Err(Refusal::Refused(..)) => dialect == Dialect::Chat,
            Err(_) => false,
        };
        if is_there && self.spoken.set(dialect).is_ok() {
            tracing::info!("endpoint '{}' is asked at {}", self.url(), dialect.path());
        }
        answer
    }

    /// Sends one request and reads the response.
    async fn send(
        &self,
        dialect: Dialect,
        http: &reqwest::Client,
        body: &Map<String, Value>,
    ) -> Result<Reply, Refusal> {
        let url = self.address.of(dialect);
        let body = serde_json::to_vec(body).expect("a request is plain values");
        let request = http
            .post(url.clone())
            .header(CONTENT_TYPE, "application/json")
            .headers(self.headers.clone())
            .body(body);
        let response = request.send().await.map_err(transport)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let (body, end) = read(response).await;
        if !status.is_success() {
            return Err(self.refusal(url.as_str(), status, &headers, &String::from_utf8_lossy(&body)));
        }
        // A whole answer counts, however the connection ended. For any other, the end of the
        // connection says more than the missing part.
        let reply = match (reply::read(&body), end) {
            (Err(_), Err(end)) => return Err(end.into()),
            (reply, _) => reply,
        };
        match reply {
            Ok(reply) => Ok(reply.redacted(&self.secrets)),
            Err(RequestFailure::Transient(transient)) => {
                let body = String::from_utf8_lossy(&body);
                let shown = wire::excerpt(&self.secrets.redact(&body));
                let transient = TransientFailure {
                    error: format!("{}: '{shown}'", self.secrets.redact(&transient.error)),
                    ..transient
                };
                // Some routers send errors with the status of an answer.
                Err(match wire::is_error(&body) {
                    true => Refusal::refused(StatusCode::OK, &body, transient.into()),
                    false => transient.into(),
                })
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// Returns the only model of the server.
    ///
    /// # Errors
    ///
    /// If it has none, or several, or does not list them.
    pub async fn only_model(&self, http: &reqwest::Client) -> Result<String, BackendError> {
        let url = self.address.models();
        let cannot = |error: &str| {
            BackendError::Fatal(format!(
                "endpoint '{}': {error}\nhint: name the model with {}",
                self.url(),
                self.config.model_option
            ))
        };
        let words = |text: &str| wire::excerpt(&self.secrets.redact(text));
        let unlisted = |error: &str| cannot(&format!("it does not say which models it has: {error}"));
        let request = http.get(url).headers(self.headers.clone());
        let response = request.send().await.map_err(|error| {
            let said = words(&chain(&error));
            match error.is_connect() {
                true => BackendError::Fatal(format!(
                    "endpoint '{}': {said}\nhint: is the server up?",
                    self.url()
                )),
                false => unlisted(&said),
            }
        })?;
        let status = response.status();
        let (body, end) = read(response).await;
        end.map_err(|transient| unlisted(&words(&transient.error)))?;
        if !status.is_success() {
            let said = words(&wire::error_message(&String::from_utf8_lossy(&body)));
            return Err(match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => BackendError::Fatal(format!(
                    "endpoint '{}': the server answered {status}: {said}\nhint: {}",
                    self.url(),
                    self.config.key.hint()
                )),
                _ => unlisted(&format!("the server answered {status}: {said}")),
            });
        }
        let models = wire::models(&body);
        match &models[..] {
            [only] if self.secrets.redact(only) == *only => Ok(only.clone()),
            [] => Err(cannot("it lists no model")),
            [_] => Err(cannot("the model that it lists is called like a secret")),
            several => {
                let mut names: Vec<String> = several
                    .iter()
                    .take(10)
                    .map(|name| format!("'{}'", words(name)))
                    .collect();
                if several.len() > names.len() {
                    names.push("…".to_string());
                }
                Err(cannot(&format!(
                    "it has {} models: {}",
                    several.len(),
                    names.join(", ")
                )))
            }
        }
    }

    /// Classifies a response whose status is not success.
    fn refusal(&self, url: &str, status: StatusCode, headers: &HeaderMap, body: &str) -> Refusal {
        let words = |text: &str| wire::excerpt(&self.secrets.redact(text));
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
        let transient = |kind| {
            let retry_after = retry_after(headers);
            TransientFailure {
                kind: retry_after.map_or(kind, |_| FailureKind::Busy),
                error: error.clone(),
                retry_after,
            }
        };
        let refused = |failure: RequestFailure| Refusal::refused(status, body, failure);
        let fatally = |hint: &str| RequestFailure::Permanent(BackendError::Fatal(fatal(hint))).into();
        let refusal = match status {
            StatusCode::TOO_MANY_REQUESTS if wire::is_out_of_quota(body) => fatally(""),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                transient(FailureKind::Busy).into()
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT => transient(FailureKind::Broken).into(),
            // If a program behind the server does not know a field, the status may be that of a
            // server error.
            status if status.is_server_error() => refused(transient(FailureKind::Broken).into()),
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
                refused(RequestFailure::Permanent(BackendError::Request(error)))
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
        };
        // An error about a field counts as such whatever its status, unless the status is about who
        // may send requests, or how many.
        let is_about_asking = matches!(
            status,
            StatusCode::UNAUTHORIZED | StatusCode::PAYMENT_REQUIRED | StatusCode::TOO_MANY_REQUESTS
        );
        match refusal {
            Refusal::Missing(error) if objection::is_of_a_field(body) => {
                refused(RequestFailure::Permanent(BackendError::Fatal(error)))
            }
            Refusal::Other(failure @ RequestFailure::Permanent(_))
                if status.is_client_error() && !is_about_asking && objection::is_of_a_field(body) =>
            {
                refused(failure)
            }
            refusal => refusal,
        }
    }
}

/// The API that `auto` tries first, and the other one: texts are continued, questions answered.
fn in_order(prompt: Prompt<'_>) -> (Dialect, Dialect) {
    match prompt {
        Prompt::Text(_) => (Dialect::Completions, Dialect::Chat),
        Prompt::Question(_) => (Dialect::Chat, Dialect::Completions),
    }
}

/// Returns the completion. It is cut if more tokens had to be allowed than were wanted.
fn completion(reply: Reply, sent: &PreparedRequest, sampling: &Sampling) -> Completion {
    if sent.allowed <= sampling.max_tokens {
        return reply.completion(sampling);
    }
    let allowed = Sampling {
        max_tokens: sent.allowed,
        ..sampling.clone()
    };
    min_tokens::cut(reply.completion(&allowed), sampling.max_tokens)
}

/// Reads the body as far as it came, and decompresses it. The second value says whether all of it
/// came.
async fn read(mut response: reqwest::Response) -> (Vec<u8>, Result<(), TransientFailure>) {
    let mut body = Vec::new();
    let end = loop {
        match response.chunk().await {
            Ok(None) => break Ok(()),
            Ok(Some(chunk)) if body.len() + chunk.len() <= body::LONGEST => body.extend_from_slice(&chunk),
            Ok(Some(_)) => break Err(body::too_long()),
            Err(error) => break Err(transport(error)),
        }
    };
    match body::decoded(body, response.headers()) {
        Ok(body) => (body, end),
        Err(transient) => (Vec::new(), Err(transient)),
    }
}

/// Classifies a failure below HTTP.
fn transport(error: reqwest::Error) -> TransientFailure {
    let kind = if error.is_connect() {
        FailureKind::Unreachable
    } else {
        FailureKind::Broken
    };
    TransientFailure::new(kind, chain(&error))
}

/// Joins the messages of an error and its causes: reqwest's outermost message says little.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
