//! Metrics for Prometheus, in OpenMetrics' text format. Those of the engine are copied from it
//! whenever they are read; those of requests are kept here.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::engine::batch::Stats;

/// The media type of [`Metrics::text`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The status of a request whose client disconnected before the answer was complete, as in nginx.
const LEFT: u16 = 499;

/// Labels of the counter of requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    endpoint: String,
    status: u32,
}

/// Labels of histograms.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabels {
    endpoint: String,
}

/// All metrics of a server.
pub struct Metrics {
    registry: Registry,
    requests: Family<StatusLabels, Counter>,
    first_token: Family<EndpointLabels, Histogram>,
    duration: Family<EndpointLabels, Histogram>,
    running: Gauge,
    waiting: Gauge,
    kv_bytes: Gauge,
    prompt_tokens: Counter,
    saved_tokens: Counter,
    generated_tokens: Counter,
    steps: Counter,
    /// Held while metrics of the engine are copied and written, so that they belong together.
    read: Mutex<()>,
}

impl Metrics {
    /// Returns the metrics of a server whose KV cache may have `kv_budget` bytes.
    pub fn new(kv_budget: usize) -> Metrics {
        // From a millisecond to over a quarter of an hour.
        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 21));
        let mut registry = Registry::with_prefix("ewe");
        let (requests, first_token, duration) = (
            Family::default(),
            Family::new_with_constructor(seconds),
            Family::new_with_constructor(seconds),
        );
        registry.register(
            "requests",
            "Requests that ended, by endpoint and status; 499: the client left",
            requests.clone(),
        );
        registry.register(
            "time_to_first_token_seconds",
            "From a request's arrival to the first text of its answer",
            first_token.clone(),
        );
        registry.register(
            "request_duration_seconds",
            "From a request's arrival to the end of its answer",
            duration.clone(),
        );
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::<i64>::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let (running, waiting, kv_bytes) = (
            gauge("running", "Answers being generated"),
            gauge("waiting", "Answers that wait for a place in the batch"),
            gauge("kv_bytes", "Bytes that keys and values of running requests take"),
        );
        gauge(
            "kv_budget_bytes",
            "Bytes that keys and values of running requests may take",
        )
        .set(kv_budget as i64);
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::<u64>::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let (prompt_tokens, saved_tokens, generated_tokens, steps) = (
            counter("prompt_tokens", "Tokens of prompts"),
            counter(
                "prompt_tokens_saved",
                "Tokens of prompts whose keys and values were there already",
            ),
            counter("generated_tokens", "Tokens generated"),
            counter(
                "steps",
                "Steps of the engine, each a token for every running request",
            ),
        );
        Metrics {
            registry,
            requests,
            first_token,
            duration,
            running,
            waiting,
            kv_bytes,
            prompt_tokens,
            saved_tokens,
            generated_tokens,
            steps,
            read: Mutex::default(),
        }
    }

    /// Returns the text of all metrics, with the current ones of the engine.
    pub fn text(&self, stats: &Stats) -> String {
        let _read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        self.running.set(stats.running as i64);
        self.waiting.set(stats.waiting as i64);
        self.kv_bytes.set(stats.kv_bytes as i64);
        for (counter, value) in [
            (&self.prompt_tokens, stats.prompt_tokens),
            (&self.saved_tokens, stats.saved_tokens),
            (&self.generated_tokens, stats.generated_tokens),
            (&self.steps, stats.steps),
        ] {
            counter.inner().store(value as u64, Ordering::Relaxed);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes everything");
        text
    }
}

/// Counts one request when its last holder is dropped: the handler, or the stream that it started.
pub struct RequestMetrics {
    metrics: Arc<Metrics>,
    endpoint: String,
    begun: Instant,
    status: AtomicU16,
    answered: AtomicBool,
    streams: AtomicBool,
}

impl RequestMetrics {
    /// Starts the clock of a request.
    pub fn new(metrics: Arc<Metrics>, endpoint: &str) -> RequestMetrics {
        RequestMetrics {
            metrics,
            endpoint: endpoint.to_string(),
            begun: Instant::now(),
            status: AtomicU16::new(LEFT),
            answered: AtomicBool::new(false),
            streams: AtomicBool::new(false),
        }
    }

    /// Records that the first text has come.
    pub fn first_token(&self) {
        if !self.answered.swap(true, Ordering::Relaxed) {
            let seconds = self.begun.elapsed().as_secs_f64();
            self.metrics
                .first_token
                .get_or_create(&self.label())
                .observe(seconds);
        }
    }

    /// From now on, the stream sets the status instead of the handler.
    pub fn hand_to_stream(&self) {
        self.streams.store(true, Ordering::Relaxed);
    }

    /// Sets the status of the handler, unless it started a stream.
    pub fn handled(&self, status: u16) {
        if !self.streams.load(Ordering::Relaxed) {
            self.ended(status);
        }
    }

    /// Sets the status.
    pub fn ended(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    fn label(&self) -> EndpointLabels {
        EndpointLabels {
            endpoint: self.endpoint.clone(),
        }
    }
}

impl Drop for RequestMetrics {
    fn drop(&mut self) {
        let ended = StatusLabels {
            endpoint: self.endpoint.clone(),
            status: u32::from(*self.status.get_mut()),
        };
        self.metrics.requests.get_or_create(&ended).inc();
        let seconds = self.begun.elapsed().as_secs_f64();
        self.metrics
            .duration
            .get_or_create(&self.label())
            .observe(seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_when_it_ends() {
        let metrics = Arc::new(Metrics::new(1000));
        let stats = Stats {
            generated_tokens: 7,
            kv_bytes: 12,
            ..Stats::default()
        };
        let has = |line: &str| metrics.text(&stats).lines().any(|l| l == line);
        let count = |end: &dyn Fn(&RequestMetrics)| end(&RequestMetrics::new(metrics.clone(), "/x"));
        count(&|t| t.handled(200));
        count(&|_| {});
        count(&|t| {
            t.hand_to_stream();
            t.handled(200);
        });
        count(&|t| {
            t.hand_to_stream();
            t.handled(200);
            t.first_token();
            t.first_token();
            t.ended(500);
        });
        assert!(has(r#"ewe_requests_total{endpoint="/x",status="200"} 1"#));
        assert!(has(r#"ewe_requests_total{endpoint="/x",status="499"} 2"#));
        assert!(has(r#"ewe_requests_total{endpoint="/x",status="500"} 1"#));
        assert!(has(r#"ewe_time_to_first_token_seconds_count{endpoint="/x"} 1"#));
        assert!(has(r#"ewe_request_duration_seconds_count{endpoint="/x"} 4"#));
        assert!(has("ewe_generated_tokens_total 7") && has("ewe_kv_bytes 12"));
        assert!(has("ewe_kv_budget_bytes 1000") && has("# EOF"));
    }
}
