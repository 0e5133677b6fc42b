//! `ewe serve`

use std::net::SocketAddr;

use axum::http::uri::Authority;

use super::complete::{FormArgs, ModelArgs};
use crate::cli::args::{local, token};

/// Arguments of `ewe serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model
    #[command(flatten)]
    pub model: ModelArgs,

    /// In which form it is asked
    #[command(flatten)]
    pub form: FormArgs,

    /// Address to listen on; beyond this machine only with a token
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8000")]
    pub bind: SocketAddr,

    /// What clients must send as `Authorization: Bearer …`.
    #[command(flatten)]
    pub token: token::Args,

    /// Name the model so in answers and in the list of models [default: its directory's, with the
    /// adapter's behind it, as in gemma-3-270m+sheep]; may be given several times: the first is the
    /// one in answers, requests may use each
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub served_model_name: Vec<String>,

    /// Let pages of this site ask from a browser, like http://localhost:3000; `*` is any; may be given several times
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    pub allow_origin: Vec<String>,

    /// Answer under this name as well, like gpu.lan:8000, say behind a proxy or a tunnel; for an address of this machine alone, since
    /// beyond it every name is answered
    #[arg(long, value_name = "HOST[:PORT]", value_parser = host)]
    pub allow_host: Vec<String>,

    /// What it may use
    #[command(flatten)]
    pub engine: local::Engine,

    /// The most answers that may wait for a place among --batch; more are refused with status 429
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(..=100_000))]
    pub max_waiting: u32,

    /// How long a client may take to send the head of a request, and a connection may idle, in seconds
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub head_timeout: u64,

    /// How long answers under way may take to end after Ctrl-C, SIGTERM or SIGHUP, in seconds
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(..=3600))]
    pub drain_timeout: u64,
}

fn name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("want a name without control characters".to_owned());
    }
    Ok(text.to_owned())
}

/// What requests have in their `Host`.
fn host(text: &str) -> Result<String, String> {
    let is_host = text.parse::<Authority>().is_ok_and(|host| {
        !host.host().is_empty() && (host.as_str() == host.host() || host.port_u16().is_some())
    });
    if is_host && !text.contains(['*', '@']) {
        return Ok(text.to_owned());
    }
    Err("want a host, with its port where it has one, like gpu.lan:8000".to_owned())
}

fn origin(text: &str) -> Result<String, String> {
    let plain = text.trim_end_matches('/');
    let is_origin = plain.split_once("://").is_some_and(|(scheme, host)| {
        !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '?', '#', '@', ' '])
    });
    if plain == "*" || (is_origin && plain.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Ok(plain.to_owned());
    }
    Err("want a scheme and a host, like http://localhost:3000, or `*`".to_owned())
}
