//! Requests to the hub: a model's files, and the reasons why it cannot be read.

use anyhow::{Context, Result, anyhow, bail};
use reqwest::header::{LOCATION, RANGE};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;

use super::{Hub, TRIES};

/// Most bytes of a listing; those of models with thousands of files have one million.
const LONGEST: usize = 16 << 20;
/// Most redirects that are followed.
const REDIRECTS: usize = 10;

/// The hub's description of a model.
#[derive(Deserialize)]
pub(super) struct Listing {
    pub sha: String,
    pub siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
pub(super) struct Sibling {
    pub rfilename: String,
    pub size: u64,
    /// Git's blob id.
    #[serde(rename = "blobId")]
    pub blob_id: String,
    /// Of large files only.
    pub lfs: Option<Lfs>,
}

#[derive(Deserialize)]
pub(super) struct Lfs {
    pub sha256: String,
    pub size: u64,
}

impl Sibling {
    /// Returns the checksum, which is also the file's name among the blobs.
    pub fn sum(&self) -> &str {
        self.lfs.as_ref().map_or(&self.blob_id, |lfs| &lfs.sha256)
    }

    pub fn bytes(&self) -> u64 {
        self.lfs.as_ref().map_or(self.size, |lfs| lfs.size)
    }
}

impl Hub {
    pub(super) async fn listing(&self, http: &reqwest::Client, id: &str) -> Result<Listing> {
        let url = format!("{}/api/models/{id}/revision/main?blobs=true", self.endpoint);
        let mut tries = 0;
        loop {
            let failure = match self.ask(http, &url, 0).await {
                Ok(mut answer) if answer.status().is_success() => {
                    let mut text = Vec::new();
                    while let Some(bytes) = answer
                        .chunk()
                        .await
                        .map_err(|error| self.unreachable(id, &error))?
                    {
                        if text.len() + bytes.len() > LONGEST {
                            bail!("{} describes `{id}` in more than {LONGEST} bytes", self.endpoint);
                        }
                        text.extend_from_slice(&bytes);
                    }
                    return serde_json::from_slice(&text)
                        .with_context(|| format!("{} describes `{id}` in an unknown way", self.endpoint));
                }
                Ok(answer) => {
                    let transient = is_transient(answer.status());
                    (self.refused(id, "config.json", answer.status()), transient)
                }
                Err(error) => {
                    let transient = error.is_timeout();
                    (self.unreachable(id, &error), transient)
                }
            };
            tries += 1;
            if !failure.1 || tries == TRIES {
                return Err(failure.0);
            }
            tokio::time::sleep(self.pause * 2u32.pow(tries - 1)).await;
        }
    }

    /// Requests `url` from byte `from` on. Follows redirects, as large files need. The token is
    /// sent to the endpoint's own origin only, and not again once a redirect has left it.
    pub(super) async fn ask(
        &self,
        http: &reqwest::Client,
        url: &str,
        from: u64,
    ) -> reqwest::Result<Response> {
        let mut request = http.get(url);
        let mut at_home = true;
        let mut followed = 0;
        loop {
            if let Some(token) = self.token.as_ref().filter(|_| at_home) {
                request = request.bearer_auth(token);
            }
            if from > 0 {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            let answer = request.send().await?;
            let next = redirect(&answer).filter(|_| followed < REDIRECTS);
            let Some(next) = next else {
                return Ok(answer);
            };
            followed += 1;
            at_home &= next.origin() == answer.url().origin();
            request = http.get(next);
        }
    }

    pub(super) fn unreachable(&self, id: &str, error: &reqwest::Error) -> anyhow::Error {
        let mut reason: &dyn std::error::Error = error;
        while let Some(source) = reason.source() {
            reason = source;
        }
        anyhow!(
            "`{id}` is no local directory, and {} cannot be reached: {reason}\nhint: give a local directory, or check the network, HF_ENDPOINT and HTTPS_PROXY",
            self.endpoint
        )
    }

    pub(super) fn refused(&self, id: &str, file: &str, status: StatusCode) -> anyhow::Error {
        let page = format!("{}/{id}", self.endpoint);
        match status {
            StatusCode::UNAUTHORIZED if self.token.is_none() => anyhow!(
                "`{id}` is no local directory, and {} says it does not exist or may not be read without a token\nhint: give a local directory; or accept its terms at {page} and set HF_TOKEN",
                self.endpoint
            ),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => anyhow!(
                "{} does not let {} read {file} of `{id}` ({status})\nhint: accept its terms at {page}, and set HF_TOKEN to a token that may read it",
                self.endpoint,
                if self.token.is_some() {
                    "this token"
                } else {
                    "anyone without a token"
                }
            ),
            StatusCode::NOT_FOUND => anyhow!(
                "`{id}` is no local directory, and {} has no such model or no {file} in it\nhint: check the spelling; a private model needs HF_TOKEN",
                self.endpoint
            ),
            other => anyhow!(
                "{} answered {other} when asked for {file} of `{id}`",
                self.endpoint
            ),
        }
    }
}

/// Returns where an answer redirects to, unless that leads from https to http.
fn redirect(answer: &Response) -> Option<Url> {
    let moved = matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let place = answer.headers().get(LOCATION).filter(|_| moved)?;
    let next = answer.url().join(place.to_str().ok()?).ok()?;
    let protects = |url: &Url| url.scheme() == "https";
    (protects(&next) || (next.scheme() == "http" && !protects(answer.url()))).then_some(next)
}

/// Returns whether the same request may succeed in a moment.
pub(super) fn is_transient(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}
