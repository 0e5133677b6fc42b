//! What `ewe serve` does.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::model::{EngineLimits, ModelSpec};
use crate::prompt::template::TemplateChoice;

/// A model to serve, and whom.
#[derive(Clone)]
pub struct ServeJob {
    /// The model that answers.
    pub model: ModelSpec,
    /// Adapters that are served beside it, each with its name.
    pub adapters: Vec<(String, PathBuf)>,
    /// The limits of its engine.
    pub limits: EngineLimits,
    /// The template of chats, unless it is the one that came with the model.
    pub template: Option<TemplateChoice>,
    /// The address to listen on.
    pub bind: SocketAddr,
    /// What clients must send as `Authorization: Bearer …`; none lets everybody in.
    pub token: Option<String>,
    /// What the model is called; empty for the name of its directory.
    pub names: Vec<String>,
    /// Sites whose pages may send requests; `*` is any.
    pub allowed_origins: Vec<String>,
    /// Further values of `Host` to answer under, each with its port where it has one.
    pub allowed_hosts: Vec<String>,
    /// The most answers that may wait for a place in the batch.
    pub max_waiting: usize,
    /// How long a client may take to send a request's head, and a connection may idle.
    pub head_timeout: Duration,
    /// How long running answers may take to end once the server stops.
    pub drain_timeout: Duration,
}
