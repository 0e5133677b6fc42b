//! Asking the hub: what a model consists of, and why it may not be had.

use anyhow::{Context, Result, anyhow};
use reqwest::StatusCode;
use serde::Deserialize;

use super::{Hub, TRIES};

/// What the hub says of a model.
#[derive(Deserialize)]
pub(super) struct Listing {
    pub sha: String,
    pub siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
pub(super) struct Sibling {
    pub rfilename: String,
    pub size: u64,
    /// The sum that git has for it.
    #[serde(rename = "blobId")]
    pub blob_id: String,
    /// Of large files.
    pub lfs: Option<Lfs>,
}

#[derive(Deserialize)]
pub(super) struct Lfs {
    pub sha256: String,
    pub size: u64,
}

impl Sibling {
    /// Its name among the blobs, which is its checksum.
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
            let failure = match self.ask(http, &url).send().await {
                Ok(answer) if answer.status().is_success() => {
                    let text = answer
                        .bytes()
                        .await
                        .map_err(|error| self.unreachable(id, &error))?;
                    return serde_json::from_slice(&text)
                        .with_context(|| format!("{} describes `{id}` in an unknown way", self.endpoint));
                }
                Ok(answer) => {
                    let passes = passes(answer.status());
                    (self.refused(id, "config.json", answer.status()), passes)
                }
                Err(error) => {
                    let passes = error.is_timeout();
                    (self.unreachable(id, &error), passes)
                }
            };
            tries += 1;
            if !failure.1 || tries == TRIES {
                return Err(failure.0);
            }
            tokio::time::sleep(self.pause * 2u32.pow(tries - 1)).await;
        }
    }

    pub(super) fn ask(&self, http: &reqwest::Client, url: &str) -> reqwest::RequestBuilder {
        // On a redirect to another host, where large files lie, reqwest leaves the token away.
        match &self.token {
            Some(token) => http.get(url).bearer_auth(token),
            None => http.get(url),
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

/// Whether an answer may be another one in a moment.
pub(super) fn passes(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}
