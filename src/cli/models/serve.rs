//! `ewe serve`

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use axum::http::uri::Authority;

use super::complete::TemplateArgs;
use crate::cli::args::{local, token};
use crate::job::serve::ServeJob;

/// Requests at once on the CPU where --batch is absent.
const DEFAULT_BATCH: u16 = 32;

/// Arguments of `ewe serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory of a model (config.json, weights, tokenizer), a GGUF file, or an id on the Hugging
    /// Face hub
    #[arg(long, value_name = "DIR|HF_ID")]
    pub model: PathBuf,

    /// Directory of a LoRA adapter in PEFT's format, as `ewe train --method lora` writes it. With a
    /// name before it, as in sheep=runs/sheep, it is served beside the model, whose weights are in
    /// memory once; may be given several times then: requests choose by their `model`
    #[arg(long, value_name = "[NAME=]DIR", value_parser = adapter)]
    pub adapter: Vec<AdapterArg>,

    /// Where it runs
    #[command(flatten)]
    pub device: local::DeviceArgs,

    /// How messages become a prompt
    #[command(flatten)]
    pub template: TemplateArgs,

    /// Address to listen on; beyond this machine only with a token
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8000")]
    pub bind: SocketAddr,

    /// What clients must send as `Authorization: Bearer …`.
    #[command(flatten)]
    pub token: token::Args,

    /// Name of the model in answers and in the list of models [default: its directory's, followed
    /// by the adapter's, as in gemma-3-270m+sheep]; may be given several times: answers carry the
    /// first, requests may use each
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub served_model_name: Vec<String>,

    /// Let pages of this site send requests from a browser, like http://localhost:3000; `*` is any
    /// site; may be given several times
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    pub allow_origin: Vec<String>,

    /// Also answer under this host name, like gpu.lan:8000, for instance behind a proxy or a
    /// tunnel. Only for an address of this machine: other addresses answer under every name
    #[arg(long, value_name = "HOST[:PORT]", value_parser = host)]
    pub allow_host: Vec<String>,

    /// How much the model may do at once
    #[command(flatten)]
    pub engine: local::EngineArgs,

    /// The most answers that may wait for a place among --batch; more are refused with status 429
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(..=100_000))]
    pub max_waiting: u32,

    /// How long a client may take to send the head of a request, and a connection may idle, in
    /// seconds
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub head_timeout: u64,

    /// How long running answers may take to end after Ctrl-C, SIGTERM or SIGHUP, in seconds
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(..=3600))]
    pub drain_timeout: u64,
}

impl Args {
    /// Returns what the command does, with the token that options, file or environment give.
    ///
    /// # Errors
    ///
    /// As [`token::Args::read`]'s, and on several adapters of which one has no name.
    pub fn job(&self) -> Result<ServeJob> {
        let alone = self.adapter.iter().find(|adapter| adapter.name.is_none());
        if let (Some(alone), [_, _, ..]) = (alone, self.adapter.as_slice()) {
            let dir = alone.dir.display();
            bail!("--adapter {dir} has no name, and there are others\nhint: --adapter NAME={dir}");
        }
        let named = self
            .adapter
            .iter()
            .filter_map(|adapter| Some((adapter.name.clone()?, adapter.dir.clone())));
        Ok(ServeJob {
            token: self.token.read()?,
            model: self
                .device
                .spec(&self.model, alone.map(|adapter| adapter.dir.as_path())),
            adapters: named.collect(),
            limits: self.engine.limits(DEFAULT_BATCH),
            template: self.template.template.clone(),
            bind: self.bind,
            names: self.served_model_name.clone(),
            allowed_origins: self.allow_origin.clone(),
            allowed_hosts: self.allow_host.clone(),
            max_waiting: self.max_waiting as usize,
            head_timeout: Duration::from_secs(self.head_timeout),
            drain_timeout: Duration::from_secs(self.drain_timeout),
        })
    }
}

/// An adapter, and the name that it is served under beside its model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterArg {
    /// None if it is served in place of its model.
    pub name: Option<String>,
    /// Its directory.
    pub dir: PathBuf,
}

/// Reads an adapter. A directory may have `=` in its name, too.
fn adapter(text: &str) -> Result<AdapterArg, String> {
    match text.split_once('=') {
        Some((before, dir)) if !before.contains('/') && !Path::new(text).is_dir() => {
            let name = Some(name(before)?);
            if dir.is_empty() {
                return Err("want a directory behind the name".to_owned());
            }
            Ok(AdapterArg {
                name,
                dir: dir.into(),
            })
        }
        _ => Ok(AdapterArg {
            name: None,
            dir: text.into(),
        }),
    }
}

/// Reads a name for the model.
fn name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("want a name without control characters".to_owned());
    }
    Ok(text.to_owned())
}

/// Reads a value of a request's `Host` header.
fn host(text: &str) -> Result<String, String> {
    let is_host = text.parse::<Authority>().is_ok_and(|host| {
        !host.host().is_empty() && (host.as_str() == host.host() || host.port_u16().is_some())
    });
    if is_host && !text.contains(['*', '@']) {
        return Ok(text.to_owned());
    }
    Err("want a host, with its port where it has one, like gpu.lan:8000".to_owned())
}

/// Reads a value of a request's `Origin` header, or `*`.
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
