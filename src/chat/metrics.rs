//! Metrics for Prometheus, in OpenMetrics' text format. Those of the engine are copied from it
//! whenever they are read ([`devices`]); those of requests are kept here.

pub mod devices;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::engine::engines::DeviceReading;
use devices::DeviceMetrics;

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
    devices: DeviceMetrics,
    /// Held while metrics of the engine are copied and written, so that they belong together.
    read: Mutex<()>,
}

impl Metrics {
    /// Returns the metrics of a server with engines on these devices.
    pub fn new(engines: &[DeviceReading]) -> Metrics {
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
        let devices = DeviceMetrics::new(&mut registry, engines);
        Metrics {
            registry,
            requests,
            first_token,
            duration,
            devices,
            read: Mutex::default(),
        }
    }

    /// Returns the text of all metrics, with the current ones of the engines, and how many answers
    /// none of them has yet.
    pub fn text(&self, engines: &[DeviceReading], queued: usize) -> String {
        let _read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        self.devices.set(engines, queued);
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
    use crate::engine::batch::Stats;

    fn reading(device: &str, generated_tokens: usize, is_up: bool) -> DeviceReading {
        DeviceReading {
            device: device.to_owned(),
            kv_budget: 1000,
            stats: Stats {
                generated_tokens,
                kv_bytes: 12,
                ..Stats::default()
            },
            is_up,
        }
    }

    #[test]
    fn a_request_is_counted_when_it_ends() {
        let reading = reading("cpu", 7, true);
        let metrics = Arc::new(Metrics::new(std::slice::from_ref(&reading)));
        let text = || metrics.text(std::slice::from_ref(&reading), 3);
        let has = |line: &str| text().lines().any(|l| l == line);
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
        let text = text();
        assert!(!text.contains("device") && !text.contains("queued"), "{text}");
    }

    #[test]
    fn several_engines_have_their_devices_as_labels() {
        let devices = [
            reading("cuda:0", 7, true),
            reading("cpu", 8, true),
            reading("cpu", 9, false),
        ];
        let text = Metrics::new(&devices).text(&devices, 3);
        for line in [
            r#"ewe_generated_tokens_total{device="cuda:0"} 7"#,
            r#"ewe_generated_tokens_total{device="cpu"} 8"#,
            r#"ewe_generated_tokens_total{device="cpu#1"} 9"#,
            r#"ewe_kv_budget_bytes{device="cpu#1"} 1000"#,
            r#"ewe_device_up{device="cpu"} 1"#,
            r#"ewe_device_up{device="cpu#1"} 0"#,
            "ewe_queued 3",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} in {text}");
        }
        // Each is described once.
        assert_eq!(text.matches("# HELP ewe_running ").count(), 1, "{text}");
    }
}
