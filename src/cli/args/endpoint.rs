//! Options for models behind endpoints, shared by all commands that use them.

use super::requests::{self, RequestArgs};
use super::words;
use crate::client::endpoint::{Api, EndpointConfig};
use crate::client::key::{ApiKey, SecretHeader, Secrets};
use crate::client::request_shape::RequestShape;
use crate::client::{Client, ClientConfig};
use crate::text::counted;
use anyhow::{Result, bail};
use std::path::PathBuf;

/// Options for a model behind endpoints.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Endpoint")]
pub struct Args {
    /// Ask a model behind this OpenAI-compatible address, like http://127.0.0.1:8000/v1; several
    /// share the work
    #[arg(long, value_name = "URL", group = "who", value_parser = words::some)]
    pub endpoint: Vec<String>,

    /// Ask the same model at all addresses in this file, one a line; it is read again while the
    /// command runs, for servers that come and go
    #[arg(long, value_name = "FILE", group = "who")]
    pub endpoints: Option<PathBuf>,

    /// The model's name at the endpoint: one for all, or one for each; the weights must be the same
    /// [default: the only one that the endpoint has]
    #[arg(long, value_name = "NAME", conflicts_with = "model", value_parser = words::some)]
    pub endpoint_model: Vec<String>,

    /// Environment variable that holds the endpoint's key: one for all, or one for each
    #[arg(long, value_name = "NAME", default_value = "OPENAI_API_KEY", value_parser = words::some)]
    pub api_key_env: Vec<String>,

    /// Send a header whose value an environment variable holds, such as api-key=AZURE_KEY; may be
    /// given several times
    #[arg(long, value_name = "NAME=VARIABLE", conflicts_with = "model")]
    pub header_env: Vec<String>,

    /// Send a field of requests under another name, such as max_tokens=max_completion_tokens; may
    /// be given several times
    #[arg(long, value_name = "FROM=TO", conflicts_with = "model")]
    pub request_field: Vec<String>,

    /// Leave a field of requests out, such as seed; may be given several times
    #[arg(long, value_name = "FIELD", conflicts_with = "model", value_parser = words::some)]
    pub drop_field: Vec<String>,

    /// Add the fields of this JSON object to every request
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    pub extra_body: Option<PathBuf>,

    /// The API to use; base models need completions
    #[arg(long, value_enum, default_value = "auto")]
    pub api: Api,

    /// How requests are sent.
    #[command(flatten)]
    pub requests: RequestArgs,
}

impl Args {
    /// Returns the client for `--endpoint` or `--endpoints`.
    pub async fn client(&self) -> Result<Client> {
        if let Some(list) = &self.endpoints {
            let config = self.requests.config(vec![self.common()?], self.api);
            let list = Some(list.clone());
            return Ok(Client::new(ClientConfig { list, ..config }).await?);
        }
        let variables = for_each("--api-key-env", &self.api_key_env, self.endpoint.len())?;
        // Without a name, each endpoint is asked for its only model.
        let models = match &self.endpoint_model[..] {
            [] => vec![""; self.endpoint.len()],
            models => for_each("--endpoint-model", models, self.endpoint.len())?,
        };
        let (shape, headers) = (self.shape()?, self.headers()?);
        let endpoints = self.endpoint.iter().zip(models.iter().zip(variables));
        let endpoints = endpoints.map(|(url, (model, variable))| {
            Ok(EndpointConfig {
                url: url.clone(),
                model: model.to_string(),
                model_option: "--endpoint-model",
                key: ApiKey::from_env(variable).map_err(anyhow::Error::msg)?,
                headers: headers.clone(),
                shape: shape.clone(),
            })
        });
        let endpoints = endpoints.collect::<Result<_>>()?;
        Ok(Client::new(self.requests.config(endpoints, self.api)).await?)
    }

    /// Returns what the endpoints of a file have in common.
    fn common(&self) -> Result<EndpointConfig> {
        let model = match self.endpoint_model.is_empty() {
            true => "",
            false => for_all("--endpoint-model", &self.endpoint_model)?,
        };
        let variable = for_all("--api-key-env", &self.api_key_env)?;
        Ok(EndpointConfig {
            url: String::new(),
            model: model.to_owned(),
            model_option: "--endpoint-model",
            key: ApiKey::from_env(variable).map_err(anyhow::Error::msg)?,
            headers: self.headers()?,
            shape: self.shape()?,
        })
    }

    /// Returns the only name of `--endpoint-model`.
    pub fn model(&self) -> Result<&str> {
        Ok(for_each("--endpoint-model", &self.endpoint_model, 1)?[0])
    }

    /// Returns a client for another endpoint, or those in `@FILE`, with the same options.
    pub async fn client_for(&self, endpoint: EndpointConfig) -> Result<Client> {
        Ok(Client::new(self.requests.config_at(endpoint, self.api)).await?)
    }

    /// Returns the fields of requests to rename, leave out or add.
    pub fn shape(&self) -> Result<RequestShape> {
        requests::shape(&self.request_field, &self.drop_field, self.extra_body.as_deref())
    }

    /// Returns the secrets to remove from files of results.
    pub fn secrets(&self) -> Result<Secrets> {
        let variable = self.api_key_env.first().map_or("", String::as_str);
        // A variable without a valid key is no secret. Nothing is sent here, so it does no harm.
        Ok(match ApiKey::from_env(variable) {
            Ok(key) => Secrets::new(&key, &self.headers()?),
            Err(_) => Secrets::default(),
        })
    }

    fn headers(&self) -> Result<Vec<SecretHeader>> {
        requests::headers(&self.header_env)
    }
}

/// Returns the value of an option for all endpoints of a file.
fn for_all<'a>(option: &str, values: &'a [String]) -> Result<&'a str> {
    match values {
        [one] => Ok(one),
        several => bail!(
            "{option} is given {}, and the endpoints of a file have it in common\nhint: give it once",
            counted(several.len(), "time")
        ),
    }
}

/// Returns the value of an option for each endpoint: one for all, or one for each.
fn for_each<'a>(option: &str, values: &'a [String], endpoints: usize) -> Result<Vec<&'a str>> {
    match values {
        [one] => Ok(vec![one; endpoints]),
        several if several.len() == endpoints => Ok(several.iter().map(String::as_str).collect()),
        several => bail!(
            "{option} is given {} for {}\nhint: give it once for all, or once for each in the same order",
            counted(several.len(), "time"),
            counted(endpoints, "endpoint")
        ),
    }
}
