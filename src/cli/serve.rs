//! `ewe serve`

use std::net::SocketAddr;

use super::complete::ModelArgs;
use super::local;

/// Arguments of `ewe serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model
    #[command(flatten)]
    pub model: ModelArgs,

    /// Address to listen on; beyond this machine only with --token
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8000")]
    pub bind: SocketAddr,

    /// Clients must send this as `Authorization: Bearer …`; the variable EWE_TOKEN does the same
    #[arg(long, value_name = "TEXT")]
    pub token: Option<String>,

    /// What it may use
    #[command(flatten)]
    pub engine: local::Engine,

    /// The most answers that may wait for a place among --batch; more are refused with status 429
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(..=100_000))]
    pub max_waiting: u32,

    /// How long a client may take to send the head of a request, and a connection may idle, in seconds
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub head_timeout: u64,
}
