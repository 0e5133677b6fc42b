//! Options for several models behind endpoints, of commands that name the endpoints themselves.

use super::requests::{self, RequestArgs};
use super::{number, words};
use crate::client::Client;
use crate::client::endpoint::{Api, EndpointConfig};
use crate::client::key::ApiKey;
use crate::pipeline::budget::Budget;
use anyhow::Result;
use std::path::PathBuf;

/// How models behind endpoints are asked.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Endpoints")]
pub struct Args {
    /// The API to use [default: chat; completions, as base models need them, where a server has no
    /// chat]
    #[arg(long, value_enum, default_value = "auto", hide_default_value = true)]
    pub api: Api,

    /// Environment variable that holds the key of the compared models
    #[arg(long, value_name = "NAME", default_value = "OPENAI_API_KEY", value_parser = words::some)]
    pub api_key_env: String,

    /// Environment variable that holds the judge's key
    #[arg(long, value_name = "NAME", default_value = "OPENAI_API_KEY", value_parser = words::some)]
    pub judge_key_env: String,

    /// Send a header whose value an environment variable holds, such as api-key=AZURE_KEY, to every
    /// endpoint; may be given several times
    #[arg(long, value_name = "NAME=VARIABLE")]
    pub header_env: Vec<String>,

    /// Send a field of requests under another name, such as max_tokens=max_completion_tokens; may
    /// be given several times
    #[arg(long, value_name = "FROM=TO")]
    pub request_field: Vec<String>,

    /// Leave a field of requests out, such as seed; may be given several times
    #[arg(long, value_name = "FIELD", value_parser = words::some)]
    pub drop_field: Vec<String>,

    /// Add the fields of this JSON object to every request
    #[arg(long, value_name = "FILE")]
    pub extra_body: Option<PathBuf>,

    /// How requests are sent.
    #[command(flatten)]
    pub requests: RequestArgs,

    /// Give up when this many requests in a row were not answered; 0 never does
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = number::count)]
    pub give_up_after: u64,
}

impl Args {
    /// Returns a client that asks questions of `model` at `url`, or at the addresses in `@FILE`; an
    /// empty name is the only model there.
    ///
    /// # Errors
    ///
    /// If an option or a variable is unusable, or the server does not say which model it has.
    pub async fn client(&self, url: &str, model: &str, key_variable: &str) -> Result<Client> {
        let endpoint = EndpointConfig {
            url: url.to_owned(),
            model: model.to_owned(),
            model_option: "`#NAME` behind the address",
            key: ApiKey::from_env(key_variable).map_err(anyhow::Error::msg)?,
            headers: requests::headers(&self.header_env)?,
            shape: requests::shape(&self.request_field, &self.drop_field, self.extra_body.as_deref())?,
        };
        let client = Client::new(self.requests.config_at(endpoint, self.api));
        Ok(client.await?.for_questions())
    }

    /// Returns the limits of a run.
    pub fn budget(&self) -> Budget {
        Budget {
            futile: (self.give_up_after > 0).then_some(self.give_up_after),
            ..Budget::default()
        }
    }
}
