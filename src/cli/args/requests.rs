//! How requests to endpoints are sent: options that do not depend on who names the endpoints.

use super::number;
use crate::client::ClientConfig;
use crate::client::endpoint::{Api, EndpointConfig};
use crate::client::key::SecretHeader;
use crate::client::request_shape::RequestShape;
use crate::settings_file;
use anyhow::{Context, Result, anyhow};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How many requests there are at once, and how long they may take.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct RequestArgs {
    /// The most requests in flight at an endpoint; fewer if it cannot take so many [default: as
    /// many as it can take]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub concurrency: Option<u16>,

    /// The longest time for one response of an endpoint, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,

    /// How many times in a row a failed request to an endpoint is tried again
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(..=1000))]
    pub retries: u32,

    /// The longest wait before the first retry, in seconds; each further wait is up to twice as
    /// long
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = number::pause)]
    pub backoff: f64,
}

impl RequestArgs {
    /// Returns how a client asks `endpoint` through `api`. An address that is `@FILE` stands for
    /// those in the file.
    pub fn config_at(&self, endpoint: EndpointConfig, api: Api) -> ClientConfig {
        let list = endpoint.url.strip_prefix('@').map(PathBuf::from);
        ClientConfig {
            list,
            ..self.config(vec![endpoint], api)
        }
    }

    /// Returns how a client asks `endpoints` through `api`.
    pub fn config(&self, endpoints: Vec<EndpointConfig>, api: Api) -> ClientConfig {
        ClientConfig {
            endpoints,
            list: None,
            api,
            concurrency: self.concurrency.map(usize::from),
            timeout: Duration::from_secs(self.timeout),
            retries: self.retries,
            backoff: Duration::from_secs_f64(self.backoff),
        }
    }
}

/// Returns the fields of requests to rename, leave out or add, the latter from a file.
///
/// # Errors
///
/// If the file cannot be read or is no JSON object, or the names contradict each other.
pub fn shape(renamed: &[String], dropped: &[String], extra_body: Option<&Path>) -> Result<RequestShape> {
    let extra = extra_body.map(|path| {
        let shown = path.display();
        let text = settings_file::read(path, settings_file::LONGEST)
            .with_context(|| format!("cannot read `{shown}`"))?;
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
        serde_json::from_slice::<Map<String, Value>>(text).map_err(|error| {
            anyhow!(
                "`{shown}`: this is no JSON object: {error}\nhint: it holds fields of a request, such as {{\"top_k\": 20}}"
            )
        })
    });
    let extra = extra.transpose()?.unwrap_or_default();
    RequestShape::new(renamed, dropped, extra).map_err(anyhow::Error::msg)
}

/// Reads the headers of `--header-env`.
///
/// # Errors
///
/// If one is not `NAME=VARIABLE`, or the variable has no usable value.
pub fn headers(named: &[String]) -> Result<Vec<SecretHeader>> {
    let headers = named.iter().map(|text| {
        SecretHeader::from_env(text)
            .map_err(|error| anyhow!("--header-env: {error}\nhint: such as api-key=AZURE_KEY"))
    });
    headers.collect()
}
