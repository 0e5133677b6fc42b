//! One endpoint: where it is, which dialect it speaks, and one try at getting an answer from it.
//!
//! - [`learning`]: what its refusals teach, and the requests that follow from that.

mod learning;

use super::address::Address;
use super::body;
use super::failure::{Failure, Kind, Passing};
use super::key::{self, ApiKey, SecretHeader, Secrets};
use super::least;
use super::objection;
use super::reply::{self, End, Reply};
use super::retry::retry_after;
use super::shape::{Learnt, Shape};
use super::wire::{self, Dialect};
use crate::backend::{BackendError, Completion, Leave, Sampling};
use learning::Sent;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION};
use serde_json::{Map, Value};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

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
    /// The address, up to and including `/v1`, or the whole of one.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// The option that names it.
    pub model_option: &'static str,
    /// Sent as a bearer token.
    pub key: ApiKey,
    /// Headers that are sent besides.
    pub headers: Vec<SecretHeader>,
    /// The shape of requests.
    pub shape: Shape,
}

/// An endpoint.
pub struct Endpoint {
    config: EndpointConfig,
    address: Address,
    headers: HeaderMap,
    secrets: Secrets,
    api: Api,
    /// What `auto` found out.
    spoken: OnceLock<Dialect>,
    /// What it refuses.
    learnt: Mutex<Learnt>,
    /// Whether it was said that it counts no tokens.
    uncounted: AtomicBool,
    /// Whether it was said that it ends answers with a word that nobody knows.
    unknown_end: AtomicBool,
}

/// An answer, and whether the server gave any text for one, if only an empty one.
pub struct Answered {
    /// The answer.
    pub completion: Completion,
    /// Whether there was a text.
    pub has_text: bool,
    /// Whether the server was told where to stop.
    pub knew_stop: bool,
}

/// Why a try in one dialect brought no answer.
enum Refusal {
    /// The server does not have this path, or not for this model.
    Missing(String),
    /// It refuses the request.
    Refused(Refused),
    Other(Failure),
}

/// A refusal that may teach something.
struct Refused {
    /// Says why.
    body: String,
    /// Whether it is about the request, so that what it names may be guessed to be at fault.
    may_be_guessed: bool,
    failure: Failure,
}

impl Refusal {
    fn refused(status: StatusCode, body: &str, failure: Failure) -> Refusal {
        let is_about_request = matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY);
        Refusal::Refused(Refused {
            body: body.to_string(),
            may_be_guessed: is_about_request || objection::has_such_a_code(body),
            failure,
        })
    }
}

impl<T: Into<Failure>> From<T> for Refusal {
    fn from(failure: T) -> Self {
        Refusal::Other(failure.into())
    }
}

impl Endpoint {
    /// Checks the address; nothing is sent yet.
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

    /// The address, as it was given.
    pub fn url(&self) -> &str {
        &self.config.url
    }

    /// The model's name there.
    pub fn model(&self) -> &str {
        &self.config.model
    }

    /// Asks once; twice while it is not known which dialect it speaks, and again whenever it refuses a field that can be
    /// left out.
    pub async fn ask(
        &self,
        http: &reqwest::Client,
        prompt: &str,
        sampling: &Sampling,
        leave: &dyn Leave,
    ) -> Result<Answered, Failure> {
        let asked = |dialect| self.ask_in(dialect, http, prompt, sampling, leave);
        let answer = match (self.api, self.spoken.get()) {
            (Api::Completions, _) => asked(Dialect::Completions).await,
            (Api::Chat, _) => asked(Dialect::Chat).await,
            (Api::Auto, Some(dialect)) => asked(*dialect).await,
            (Api::Auto, None) => {
                let first = asked(Dialect::Completions).await;
                let is_missing = match &first {
                    Err(Refusal::Missing(_)) => true,
                    Err(Refusal::Refused(refused)) => wire::wants_chat(&refused.body),
                    _ => false,
                };
                if is_missing {
                    leave.follow_up();
                    match asked(Dialect::Chat).await {
                        Err(Refusal::Missing(_)) => first,
                        answer => self.remember(Dialect::Chat, answer),
                    }
                } else {
                    self.remember(Dialect::Completions, first)
                }
            }
        };
        let (reply, sent) = answer.map_err(|refusal| match refusal {
            Refusal::Missing(error) => Failure::Final(BackendError::Fatal(error)),
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

    /// Keeps the stop strings here from now on, where the model was thinking when one of them met its thoughts.
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

    /// Remembers the dialect of a path that is there, whatever it answered.
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
        // An answer that is whole is taken, however its connection ended; of another its end says more than what is missing.
        let reply = match (reply::read(&body), end) {
            (Err(_), Err(end)) => return Err(end.into()),
            (reply, _) => reply,
        };
        match reply {
            Ok(reply) => Ok(reply.redacted(&self.secrets)),
            Err(Failure::Passing(passing)) => {
                let body = String::from_utf8_lossy(&body);
                let shown = wire::excerpt(&self.secrets.redact(&body));
                let passing = Passing {
                    error: format!("{}: '{shown}'", self.secrets.redact(&passing.error)),
                    ..passing
                };
                // An error with the status of an answer, as some routers send it.
                Err(match wire::is_error(&body) {
                    true => Refusal::refused(StatusCode::OK, &body, passing.into()),
                    false => passing.into(),
                })
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// The only model that the server has.
    ///
    /// # Errors
    ///
    /// Where it has none, or several, or does not say.
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
        let response = request
            .send()
            .await
            .map_err(|error| unlisted(&words(&chain(&error))))?;
        let status = response.status();
        let (body, end) = read(response).await;
        end.map_err(|passing| unlisted(&words(&passing.error)))?;
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

    /// What a status other than success means.
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
        let passing = |kind| {
            let retry_after = retry_after(headers);
            Passing {
                kind: retry_after.map_or(kind, |_| Kind::Busy),
                error: error.clone(),
                retry_after,
            }
        };
        let refused = |failure: Failure| Refusal::refused(status, body, failure);
        let fatally = |hint: &str| Failure::Final(BackendError::Fatal(fatal(hint))).into();
        let refusal = match status {
            StatusCode::TOO_MANY_REQUESTS if wire::is_out_of_quota(body) => fatally(""),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => passing(Kind::Busy).into(),
            StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT => passing(Kind::Broken).into(),
            // A field that a program behind the server does not know is its error, not the request's.
            status if status.is_server_error() => refused(passing(Kind::Broken).into()),
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
                refused(Failure::Final(BackendError::Request(error)))
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
        // An error about a field is one whatever its status, unless that says who may ask, or how often.
        let is_about_asking = matches!(
            status,
            StatusCode::UNAUTHORIZED | StatusCode::PAYMENT_REQUIRED | StatusCode::TOO_MANY_REQUESTS
        );
        match refusal {
            Refusal::Missing(error) if objection::is_of_a_field(body) => {
                refused(Failure::Final(BackendError::Fatal(error)))
            }
            Refusal::Other(failure @ Failure::Final(_))
                if status.is_client_error() && !is_about_asking && objection::is_of_a_field(body) =>
            {
                refused(failure)
            }
            refusal => refusal,
        }
    }
}

/// The answer to the question. Where more tokens were allowed than were asked for it is cut.
fn completion(reply: Reply, sent: &Sent, sampling: &Sampling) -> Completion {
    if sent.allowed <= sampling.max_tokens {
        return reply.completion(sampling);
    }
    let allowed = Sampling {
        max_tokens: sent.allowed,
        ..sampling.clone()
    };
    least::cut(reply.completion(&allowed), sampling.max_tokens)
}

/// The body, unpacked, as far as it came, and whether that is all of it.
async fn read(mut response: reqwest::Response) -> (Vec<u8>, Result<(), Passing>) {
    let mut body = Vec::new();
    let end = loop {
        match response.chunk().await {
            Ok(None) => break Ok(()),
            Ok(Some(chunk)) if body.len() + chunk.len() <= body::LONGEST => body.extend_from_slice(&chunk),
            Ok(Some(_)) => break Err(body::too_long()),
            Err(error) => break Err(transport(error)),
        }
    };
    match body::unpacked(body, response.headers()) {
        Ok(body) => (body, end),
        Err(passing) => (Vec::new(), Err(passing)),
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
