//! Options that say where a model is asked, for every command that asks one.

use super::words;
use crate::client::endpoint::{Api, EndpointConfig};
use crate::client::key::{ApiKey, SecretHeader, Secrets};
use crate::client::shape::Shape;
use crate::client::{self, Client};
use crate::settings_file;
use crate::text::counted;
use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::time::Duration;

/// A model behind endpoints.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Ask a model behind this OpenAI-compatible address, like http://127.0.0.1:8000/v1; several share the work
    #[arg(long, value_name = "URL", group = "who", value_parser = words::some)]
    pub endpoint: Vec<String>,

    /// The model's name at the endpoint: one for all, or one for each; the weights must be the same [default: the only one that
    /// the endpoint has]
    #[arg(long, value_name = "NAME", conflicts_with = "model", value_parser = words::some)]
    pub endpoint_model: Vec<String>,

    /// Environment variable that holds the endpoint's key: one for all, or one for each
    #[arg(long, value_name = "NAME", default_value = "OPENAI_API_KEY", value_parser = words::some)]
    pub api_key_env: Vec<String>,

    /// Send a header whose value an environment variable holds, such as api-key=AZURE_KEY; may be given several times
    #[arg(long, value_name = "NAME=VARIABLE", conflicts_with = "model")]
    pub header_env: Vec<String>,

    /// Send a field of requests under another name, such as max_tokens=max_completion_tokens; may be given several times
    #[arg(long, value_name = "FROM=TO", conflicts_with = "model")]
    pub request_field: Vec<String>,

    /// Leave a field of requests out, such as seed; may be given several times
    #[arg(long, value_name = "FIELD", conflicts_with = "model", value_parser = words::some)]
    pub drop_field: Vec<String>,

    /// Add the fields of this JSON object to every request
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    pub extra_body: Option<PathBuf>,

    /// How the endpoint is asked; base models want completions
    #[arg(long, value_enum, default_value = "auto")]
    pub api: Api,

    /// The most requests in flight at once at each endpoint; fewer where it cannot bear so many [default: what it bears]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub concurrency: Option<u16>,

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
    pub async fn client(&self) -> Result<Client> {
        let variables = for_each("--api-key-env", &self.api_key_env, self.endpoint.len())?;
        // Without a name, each is asked for its own.
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
        self.client_for(endpoints.collect::<Result<_>>()?).await
    }

    /// The only name of `--endpoint-model`.
    pub fn model(&self) -> Result<&str> {
        Ok(for_each("--endpoint-model", &self.endpoint_model, 1)?[0])
    }

    /// A client for other endpoints that are asked in the same way.
    pub async fn client_for(&self, endpoints: Vec<EndpointConfig>) -> Result<Client> {
        Ok(Client::new(client::Config {
            endpoints,
            api: self.api,
            concurrency: self.concurrency.map(usize::from),
            timeout: Duration::from_secs(self.timeout),
            retries: self.retries,
            backoff: Duration::from_secs_f64(self.backoff),
        })
        .await?)
    }

    /// What the options say about the fields of requests.
    pub fn shape(&self) -> Result<Shape> {
        let extra = self.extra_body.as_ref().map(|path| {
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
        Shape::new(&self.request_field, &self.drop_field, extra).map_err(anyhow::Error::msg)
    }

    /// What nobody may see, though a file of results may hold it.
    pub fn secrets(&self) -> Result<Secrets> {
        let variable = self.api_key_env.first().map_or("", String::as_str);
        // A variable that holds no key is nobody's secret; where nothing is sent it does no harm.
        Ok(match ApiKey::from_env(variable) {
            Ok(key) => Secrets::new(&key, &self.headers()?),
            Err(_) => Secrets::default(),
        })
    }

    fn headers(&self) -> Result<Vec<SecretHeader>> {
        let headers = self.header_env.iter().map(|text| SecretHeader::from_env(text));
        headers
            .map(|header| {
                header.map_err(|error| anyhow!("--header-env: {error}\nhint: such as api-key=AZURE_KEY"))
            })
            .collect()
    }
}

/// The option's value for each of so many endpoints: one for all, or as many as there are.
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
