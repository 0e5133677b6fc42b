//! Requests to the hub and to its storage. Transient failures are followed by another attempt. The
//! token goes to the hub alone: never to its storage, nor where a redirect leads away from the hub.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use reqwest::header::{HeaderMap, HeaderValue, LOCATION};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;

use super::account::{Account, HUB};
use crate::client::retry::{Backoff, retry_after};
use crate::text::one_line;

/// Attempts without success that end a push.
const TRIES: u32 = 5;
/// Pause before the second attempt; doubles with each one.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// How long a request may stand still: no byte sent, and no answer.
const STALL: Duration = Duration::from_secs(300);
/// How often the progress of a request is looked at.
const TICK: Duration = Duration::from_millis(250);
/// Most bytes of an answer.
const LONGEST: usize = 16 << 20;
/// Most redirects that are followed.
const REDIRECTS: usize = 5;
/// Most characters that an error quotes of an answer.
const QUOTED: usize = 300;

/// A connection to the hub.
pub struct Hub {
    http: Client,
    account: Account,
    home: Url,
    /// Whether anything was ever answered. Before that, an address that cannot be reached is wrong.
    is_reached: AtomicBool,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    body: Vec<u8>,
}

/// A request that can be made again.
pub(super) struct Call<'a> {
    pub method: Method,
    pub url: Url,
    /// Whether the hub itself is asked, with the token.
    pub to_hub: bool,
    /// Adds headers and body.
    pub with: &'a dyn Fn(RequestBuilder) -> Result<RequestBuilder>,
    /// The bytes of the body that were sent.
    pub sent: Arc<AtomicU64>,
}

/// Why an attempt has no answer.
enum CallError {
    /// Another attempt may succeed.
    Transient(anyhow::Error),
    /// None can.
    Final(anyhow::Error),
}

impl Answer {
    /// Returns the body as JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Returns the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns the server's words: its `error`, or a text. It may quote the token.
    fn words(&self) -> Option<String> {
        let header = self.headers.get("x-error-message");
        let text = match self.json() {
            Some(json) => [&json["error"], &json["message"]]
                .into_iter()
                .find_map(|value| value.as_str().map(str::to_owned)),
            None => header
                .and_then(|header| header.to_str().ok())
                .map(str::to_owned)
                .or_else(|| {
                    let text = std::str::from_utf8(&self.body).ok()?;
                    // A page for people says nothing here.
                    (!text.trim_start().starts_with('<')).then(|| text.to_owned())
                }),
        };
        text.filter(|text| !text.trim().is_empty())
    }
}

impl Hub {
    /// Prepares requests; none is sent.
    ///
    /// # Errors
    ///
    /// If the address of the hub is none, or there is no token, or `HF_HUB_OFFLINE` is set.
    pub fn new(account: Account) -> Result<Hub> {
        if account.is_offline {
            bail!("HF_HUB_OFFLINE is set, so nothing can be pushed\nhint: unset it");
        }
        let home = Url::parse(&account.endpoint)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some());
        let Some(home) = home else {
            bail!(
                "HF_ENDPOINT is no address of a hub: `{}`\nhint: leave it away, or give one like {HUB}",
                account.endpoint
            );
        };
        let Some(token) = &account.token else {
            bail!(
                "there is no token to push with\nhint: make one that may write at {}/settings/tokens, and set HF_TOKEN or run `hf auth login`",
                account.endpoint
            );
        };
        if HeaderValue::from_str(token.secret()).is_err() {
            bail!(
                "the token has a line break, or another character that tokens do not have\nhint: copy it again from {}/settings/tokens",
                account.endpoint
            );
        }
        // On a second call the provider is already set.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .connect_timeout(Duration::from_secs(10))
            // Followed by hand, so that the token is sent to the hub only.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("ewe/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("no HTTP client")?;
        Ok(Hub {
            http,
            account,
            home,
            is_reached: AtomicBool::new(false),
        })
    }

    /// Returns the address of the hub.
    pub fn endpoint(&self) -> &str {
        &self.account.endpoint
    }

    /// Asks the hub for `path`.
    pub(super) async fn get(&self, path: &str) -> Result<Answer> {
        let call = Call {
            method: Method::GET,
            url: self.url(path)?,
            to_hub: true,
            with: &Ok,
            sent: Arc::default(),
        };
        self.call(&call, &mut |_| ()).await
    }

    /// Sends JSON to `path` of the hub.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        let call = Call {
            method: Method::POST,
            url: self.url(path)?,
            to_hub: true,
            with: &|request| Ok(request.json(body)),
            sent: Arc::default(),
        };
        self.call(&call, &mut |_| ()).await
    }

    /// Returns the address of a path of the hub.
    pub(super) fn url(&self, path: &str) -> Result<Url> {
        let url = format!("{}/{path}", self.account.endpoint);
        Url::parse(&url).with_context(|| format!("{url} is no address"))
    }

    /// Returns an address that the hub gave. Behind a mirror, the hub gives its own.
    pub(super) fn given(&self, text: &str) -> Result<Url> {
        let text = match text.strip_prefix(HUB) {
            Some(path) if path.starts_with('/') => format!("{}{path}", self.account.endpoint),
            _ => text.to_owned(),
        };
        let url = Url::parse(&text).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
        // What is protected on the way to the hub is so on the way to its storage.
        url.filter(|url| url.scheme() == "https" || self.home.scheme() == "http")
            .with_context(|| format!("{} gives no address to send to", self.endpoint()))
    }

    /// Returns whether an address is one of the hub itself.
    pub(super) fn is_home(&self, url: &Url) -> bool {
        url.origin() == self.home.origin()
    }

    /// Makes a request until it is answered with something else than a transient failure, with at
    /// most [`TRIES`] attempts. `progress` is told the bytes of the body that were sent.
    pub(super) async fn call(&self, call: &Call<'_>, progress: &mut dyn FnMut(u64)) -> Result<Answer> {
        let mut backoff = Backoff::new(PAUSE, 0);
        let mut tries = 0;
        loop {
            tries += 1;
            let is_last = tries == TRIES;
            let (why, wanted) = match self.attempt(call, progress).await {
                Ok(answer) if is_last || !is_transient(answer.status) => return Ok(answer),
                Ok(answer) => (answer.status.to_string(), retry_after(&answer.headers)),
                Err(CallError::Final(error)) => return Err(error),
                Err(CallError::Transient(error)) if is_last => return Err(error),
                Err(CallError::Transient(error)) => (format!("{error:#}"), None),
            };
            tracing::info!("{}: {}; once more", host(&call.url), self.redact(&why));
            tokio::time::sleep(wanted.unwrap_or_else(|| backoff.wait())).await;
        }
    }

    async fn attempt(&self, call: &Call<'_>, progress: &mut dyn FnMut(u64)) -> Result<Answer, CallError> {
        let mut url = call.url.clone();
        for _ in 0..=REDIRECTS {
            let mut request = self.http.request(call.method.clone(), url.clone());
            if let Some(token) = self.account.token.as_ref().filter(|_| call.to_hub) {
                request = request.bearer_auth(token.secret());
            }
            let request = (call.with)(request).map_err(CallError::Final)?;
            let answer = self.sent(request, call, &url, progress).await?;
            match self.redirect(call, &answer)? {
                Some(next) => url = next,
                None => return self.read(answer, &url).await,
            }
        }
        Err(CallError::Final(anyhow!(
            "redirects of {} come to no end",
            host(&call.url)
        )))
    }

    /// Returns where an answer sends the request on to. What is meant for the hub goes nowhere
    /// else.
    fn redirect(&self, call: &Call<'_>, answer: &Response) -> Result<Option<Url>, CallError> {
        let keeps_method = matches!(answer.status().as_u16(), 307 | 308);
        let moved = keeps_method || matches!(answer.status().as_u16(), 301..=303);
        let Some(place) = answer.headers().get(LOCATION).filter(|_| moved) else {
            return Ok(None);
        };
        let next = place
            .to_str()
            .ok()
            .and_then(|place| answer.url().join(place).ok());
        let protects = |url: &Url| url.scheme() == "https";
        let next = next.filter(|next| protects(next) || (next.scheme() == "http" && !protects(answer.url())));
        let Some(next) = next.filter(|_| keeps_method || call.method == Method::GET) else {
            return Err(CallError::Final(anyhow!(
                "an answer of {} ({}) redirects in a way that cannot be followed",
                host(answer.url()),
                answer.status()
            )));
        };
        if call.to_hub && !self.is_home(&next) {
            return Err(CallError::Final(anyhow!(
                "an answer of {} is a redirect to {}, to which neither the token nor the files are sent\nhint: if that is the hub that you mean, name it in HF_ENDPOINT",
                host(answer.url()),
                next.origin().ascii_serialization()
            )));
        }
        Ok(Some(next))
    }

    /// Sends a request and waits for the head of the answer.
    async fn sent(
        &self,
        request: RequestBuilder,
        call: &Call<'_>,
        url: &Url,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Response, CallError> {
        let answer = request.send();
        tokio::pin!(answer);
        let mut ticks = tokio::time::interval(TICK);
        let (mut before, mut since) = (0, Instant::now());
        loop {
            tokio::select! {
                answer = &mut answer => {
                    let answer = answer.map_err(|error| self.unreachable(url, error))?;
                    self.is_reached.store(true, Ordering::Relaxed);
                    progress(call.sent.load(Ordering::Relaxed));
                    return Ok(answer);
                }
                _ = ticks.tick() => {
                    let sent = call.sent.load(Ordering::Relaxed);
                    progress(sent);
                    if sent != before {
                        (before, since) = (sent, Instant::now());
                    } else if since.elapsed() > STALL {
                        return Err(CallError::Transient(stalled(url)));
                    }
                }
            }
        }
    }

    async fn read(&self, mut answer: Response, url: &Url) -> Result<Answer, CallError> {
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut body = Vec::new();
        loop {
            let chunk = tokio::time::timeout(STALL, answer.chunk()).await;
            let chunk = chunk.map_err(|_| CallError::Transient(stalled(url)))?;
            match chunk.map_err(|error| self.unreachable(url, error))? {
                Some(bytes) if body.len() + bytes.len() > LONGEST => {
                    let error = anyhow!("an answer of {} has more than {LONGEST} bytes", host(url));
                    return Err(CallError::Final(error));
                }
                Some(bytes) => body.extend_from_slice(&bytes),
                None => break,
            }
        }
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    fn unreachable(&self, url: &Url, error: reqwest::Error) -> CallError {
        // Addresses of the storage hold signatures.
        let error = error.without_url();
        let mut reason: &dyn Error = &error;
        while let Some(source) = reason.source() {
            reason = source;
        }
        let told = anyhow!(
            "{} cannot be reached: {reason}\nhint: check the network, HF_ENDPOINT and HTTPS_PROXY; what is in the storage already is not sent again",
            host(url)
        );
        match error.is_connect() && !self.is_reached.load(Ordering::Relaxed) {
            true => CallError::Final(told),
            false => CallError::Transient(told),
        }
    }

    /// Returns words of a server, short and on one line, without the token.
    pub(super) fn quoted(&self, words: &str) -> String {
        // The token first: a cut could leave a part of it.
        one_line(&self.redact(words), QUOTED)
    }

    /// Returns a text without the token.
    fn redact(&self, text: &str) -> String {
        match &self.account.token {
            Some(token) => token.redact(text),
            None => text.to_owned(),
        }
    }

    /// Returns the error for an answer that refuses something; `doing` is what was asked for.
    pub(super) fn refused(&self, doing: &str, answer: &Answer) -> anyhow::Error {
        let words = answer
            .words()
            .map_or(String::new(), |words| format!(": {}", self.quoted(&words)));
        let (endpoint, status) = (&self.account.endpoint, answer.status);
        match status {
            StatusCode::UNAUTHORIZED => anyhow!(
                "{endpoint} does not know the token, or it has expired ({status}){words}\nhint: make one that may write at {endpoint}/settings/tokens, and set HF_TOKEN"
            ),
            StatusCode::FORBIDDEN => anyhow!(
                "{endpoint} does not let this token {doing} ({status}){words}\nhint: the token must be one that may write, of the owner or of a member with that right: {endpoint}/settings/tokens"
            ),
            StatusCode::TOO_MANY_REQUESTS => anyhow!(
                "{endpoint} is asked too often ({status}){words}\nhint: push again later; what is in the storage already is not sent again"
            ),
            _ if status.is_server_error() => anyhow!(
                "{endpoint} could not {doing} ({status}){words}\nhint: push again; what is in the storage already is not sent again"
            ),
            _ => anyhow!("{endpoint} does not {doing} ({status}){words}"),
        }
    }
}

fn stalled(url: &Url) -> anyhow::Error {
    anyhow!("{} took no byte and gave no answer for five minutes", host(url))
}

/// Returns scheme, host and port of an address: addresses of the storage hold signatures.
fn host(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Returns whether the same request may succeed in a moment.
fn is_transient(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}
