//! Options of `ewe generate` for its quality pass.

use super::{endpoint, words};
use crate::client::Client;
use crate::client::endpoint::EndpointConfig;
use crate::client::key::ApiKey;
use crate::client::request_shape::RequestShape;
use anyhow::Result;

/// Who judges, if anybody.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Judging at the end")]
pub struct Args {
    /// At the end, have the same model score every machine-made instance that it has not judged,
    /// from 1 to 5
    #[arg(long)]
    pub judge: bool,

    /// The same, by another model behind this address
    #[arg(long, value_name = "URL", value_parser = words::some)]
    pub judge_endpoint: Option<String>,

    /// The judge's name there [default: the only one that it has]
    #[arg(long, value_name = "NAME", requires = "judge_endpoint", value_parser = words::some)]
    pub judge_model: Option<String>,

    /// Environment variable that holds the judge's key
    #[arg(long, value_name = "NAME", default_value = "OPENAI_API_KEY", value_parser = words::some)]
    pub judge_key_env: String,
}

impl Args {
    /// Whether anybody judges.
    pub fn is_wanted(&self) -> bool {
        self.judge || self.judge_endpoint.is_some()
    }

    /// The client for `--judge-endpoint`, which is asked in the same way as the others; none
    /// without it. What was said about the fields of requests, and headers, are for the others: it
    /// is another server with another model.
    pub async fn client(&self, at: &endpoint::Args) -> Result<Option<Client>> {
        let Some(url) = &self.judge_endpoint else {
            return Ok(None);
        };
        let key = ApiKey::from_env(&self.judge_key_env).map_err(anyhow::Error::msg)?;
        let endpoint = EndpointConfig {
            url: url.clone(),
            model: self.judge_model.clone().unwrap_or_default(),
            model_option: "--judge-model",
            key,
            headers: Vec::new(),
            shape: RequestShape::default(),
        };
        at.client_for(endpoint).await.map(Some)
    }
}
