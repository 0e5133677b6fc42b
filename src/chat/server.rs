//! What all requests to the server share.

use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ewe::backend::Backend;
use ewe::http_server::guard::{BearerToken, OriginGuard};
use tokio::sync::Semaphore;

use super::body::BodyLimits;
use super::metrics::Metrics;
use super::models::ServedModel;
use crate::engine::handle::LocalBackend;
use crate::model::text::token_bytes::TokenBytes;

/// The model, and what guards and counts requests to it.
pub struct ServerState {
    /// The model.
    pub backend: LocalBackend,
    /// What is served: the model, then its adapters.
    pub models: Vec<ServedModel>,
    /// The bytes of each token, for logprobs.
    pub token_bytes: TokenBytes,
    /// Metrics for Prometheus.
    pub metrics: Arc<Metrics>,
    /// Where requests may come from.
    pub guard: OriginGuard,
    /// What clients must send, if anything.
    pub token: Option<BearerToken>,
    /// How large bodies may be, and how many are read at once.
    pub body_limits: BodyLimits,
    /// A permit for each answer that runs or waits.
    pub permits: Arc<Semaphore>,
    /// How many permits there are.
    pub max_answers: usize,
    /// Counts requests, to number answers.
    pub request_count: AtomicU64,
    /// Hashes request numbers to seeds, for requests without one.
    pub seeds: RandomState,
    stopping: AtomicBool,
}

impl ServerState {
    /// Returns a server that takes requests. At most `max_waiting` answers wait for a place in the
    /// batch.
    pub fn new(
        backend: LocalBackend,
        models: Vec<ServedModel>,
        guard: OriginGuard,
        token: Option<BearerToken>,
        max_waiting: usize,
    ) -> ServerState {
        let max_answers = backend.capacity() + max_waiting;
        ServerState {
            token_bytes: TokenBytes::of(backend.tokenizer()),
            metrics: Arc::new(Metrics::new(&backend.engines().devices())),
            backend,
            models,
            guard,
            token,
            body_limits: BodyLimits::new(),
            permits: Arc::new(Semaphore::new(max_answers)),
            max_answers,
            request_count: AtomicU64::new(0),
            seeds: RandomState::new(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Takes no new requests from now on.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether no new requests are taken any more.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Returns how many answers run or wait.
    pub fn under_way(&self) -> usize {
        self.max_answers - self.permits.available_permits()
    }
}
