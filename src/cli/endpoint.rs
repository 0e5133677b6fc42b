//! Options that say where a model is asked, for every command that asks one.

use crate::client::endpoint::{Api, EndpointConfig};
use crate::client::key::ApiKey;
use crate::client::{self, Client};
use anyhow::{Result, bail};
use std::time::Duration;

/// A model behind endpoints.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Ask a model behind this OpenAI-compatible address, like http://127.0.0.1:8000/v1; several share the work
    #[arg(long, value_name = "URL", group = "who", requires = "endpoint_model")]
    pub endpoint: Vec<String>,

    /// The model's name at the endpoint: one for all, or one for each; the weights must be the same
    #[arg(long, value_name = "NAME", conflicts_with = "model")]
    pub endpoint_model: Vec<String>,

    /// Environment variable that holds the endpoint's key: one for all, or one for each
    #[arg(long, value_name = "NAME", default_value = "OPENAI_API_KEY")]
    pub api_key_env: Vec<String>,

    /// How the endpoint is asked; base models want completions
    #[arg(long, value_enum, default_value = "auto")]
    pub api: Api,

    /// The most requests in flight at once at each endpoint; fewer where it cannot bear so many
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub concurrency: u16,

    /// Seconds that one answer of the endpoint may take
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,

    /// How often a request to the endpoint that failed in passing is tried again
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(..=1000))]
    pub retries: u32,

    /// Seconds before it is first tried again, at most; each further wait is up to twice as long
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = super::number::pause)]
    pub backoff: f64,
}

impl Args {
    /// The client for `--endpoint`.
    pub fn client(&self) -> Result<Client> {
        let models = for_each("--endpoint-model", &self.endpoint_model, self.endpoint.len())?;
        let variables = for_each("--api-key-env", &self.api_key_env, self.endpoint.len())?;
        let endpoints = self.endpoint.iter().zip(models.iter().zip(variables));
        let endpoints = endpoints.map(|(url, (model, variable))| {
            Ok(EndpointConfig {
                url: url.clone(),
                model: model.to_string(),
                key: ApiKey::from_env(variable).map_err(anyhow::Error::msg)?,
            })
        });
        self.client_for(endpoints.collect::<Result<_>>()?)
    }

    /// The only name of `--endpoint-model`.
    pub fn model(&self) -> Result<&str> {
        Ok(for_each("--endpoint-model", &self.endpoint_model, 1)?[0])
    }

    /// A client for other endpoints that are asked in the same way.
    pub fn client_for(&self, endpoints: Vec<EndpointConfig>) -> Result<Client> {
        Ok(Client::new(client::Config {
            endpoints,
            api: self.api,
            concurrency: self.concurrency.into(),
            timeout: Duration::from_secs(self.timeout),
            retries: self.retries,
            backoff: Duration::from_secs_f64(self.backoff),
        })?)
    }
}

/// The option's value for each of so many endpoints: one for all, or as many as there are.
fn for_each<'a>(option: &str, values: &'a [String], endpoints: usize) -> Result<Vec<&'a str>> {
    match values {
        [one] => Ok(vec![one; endpoints]),
        several if several.len() == endpoints => Ok(several.iter().map(String::as_str).collect()),
        several => bail!(
            "{option} is given {} times for {endpoints} endpoints\nhint: give it once for all, or once for each in the same order",
            several.len()
        ),
    }
}
