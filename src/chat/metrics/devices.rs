//! Metrics of the engines. Those of a lone engine have no label; of several, each has its device's.

use std::sync::atomic::Ordering;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

use crate::engine::engines::DeviceReading;

/// The label of an engine's metrics.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeviceLabels {
    device: String,
}

/// The metrics of an engine, which are copied from it when they are read.
struct EngineMetrics {
    running: Gauge,
    waiting: Gauge,
    kv_bytes: Gauge,
    prompt_tokens: Counter,
    saved_tokens: Counter,
    generated_tokens: Counter,
    steps: Counter,
    /// Whether it computes; none of a lone engine, whose state is that of the server.
    up: Option<Gauge>,
}

/// The metrics of all engines.
pub struct DeviceMetrics {
    engines: Vec<EngineMetrics>,
    /// Answers that no engine has yet; none of a lone engine, which gets all at once.
    queued: Option<Gauge>,
}

impl DeviceMetrics {
    /// Registers the metrics of engines on these devices.
    pub fn new(registry: &mut Registry, engines: &[DeviceReading]) -> DeviceMetrics {
        let mut registering = Registering {
            registry,
            names: names(engines),
        };
        let mut gauge = |name: &str, help: &str| registering.each::<Gauge>(name, help);
        let running = gauge("running", "Answers being generated");
        let waiting = gauge("waiting", "Answers that wait for a place in the batch");
        let kv_bytes = gauge("kv_bytes", "Bytes that keys and values of running requests take");
        let budgets = gauge(
            "kv_budget_bytes",
            "Bytes that keys and values of running requests may take",
        );
        for (gauge, engine) in budgets.iter().zip(engines) {
            gauge.set(engine.kv_budget as i64);
        }
        let up = match engines.len() {
            0 | 1 => Vec::new(),
            _ => gauge(
                "device_up",
                "Whether the device computes: 1, or 0 if it is left out",
            ),
        };
        let queued = (engines.len() > 1).then(|| {
            let queued = Gauge::<i64>::default();
            let help = "Answers that no device has yet";
            registering.registry.register("queued", help, queued.clone());
            queued
        });
        let mut counter = |name: &str, help: &str| registering.each::<Counter>(name, help);
        let prompt_tokens = counter("prompt_tokens", "Tokens of prompts");
        let saved_tokens = counter(
            "prompt_tokens_saved",
            "Tokens of prompts whose keys and values were there already",
        );
        let generated_tokens = counter("generated_tokens", "Tokens generated");
        let steps = counter(
            "steps",
            "Steps of the engine, each a token for every running request",
        );
        let of = |index: usize| EngineMetrics {
            running: running[index].clone(),
            waiting: waiting[index].clone(),
            kv_bytes: kv_bytes[index].clone(),
            prompt_tokens: prompt_tokens[index].clone(),
            saved_tokens: saved_tokens[index].clone(),
            generated_tokens: generated_tokens[index].clone(),
            steps: steps[index].clone(),
            up: up.get(index).cloned(),
        };
        DeviceMetrics {
            engines: (0..engines.len()).map(of).collect(),
            queued,
        }
    }

    /// Takes what is read of the engines, in their order, and of the queue before them.
    pub fn set(&self, engines: &[DeviceReading], queued: usize) {
        for (metrics, engine) in self.engines.iter().zip(engines) {
            let stats = &engine.stats;
            metrics.running.set(stats.running as i64);
            metrics.waiting.set(stats.waiting as i64);
            metrics.kv_bytes.set(stats.kv_bytes as i64);
            if let Some(up) = &metrics.up {
                up.set(i64::from(engine.is_up));
            }
            for (counter, value) in [
                (&metrics.prompt_tokens, stats.prompt_tokens),
                (&metrics.saved_tokens, stats.saved_tokens),
                (&metrics.generated_tokens, stats.generated_tokens),
                (&metrics.steps, stats.steps),
            ] {
                counter.inner().store(value as u64, Ordering::Relaxed);
            }
        }
        if let Some(gauge) = &self.queued {
            gauge.set(queued as i64);
        }
    }
}

/// Returns the labels of engines; none for a lone one. Devices of one name are numbered from the
/// second on, as in cpu and cpu#1.
fn names(engines: &[DeviceReading]) -> Vec<Option<String>> {
    let all = engines.iter().enumerate();
    let names = all.map(|(index, engine)| {
        let name = &engine.device;
        let before = engines[..index]
            .iter()
            .filter(|other| other.device == *name)
            .count();
        match (engines.len(), before) {
            (1, _) => None,
            (_, 0) => Some(name.clone()),
            _ => Some(format!("{name}#{before}")),
        }
    });
    names.collect()
}

/// Registers a metric for each engine.
struct Registering<'a> {
    registry: &'a mut Registry,
    names: Vec<Option<String>>,
}

impl Registering<'_> {
    fn each<M>(&mut self, name: &str, help: &str) -> Vec<M>
    where
        M: Metric + TypedMetric + Clone + Default,
        Family<DeviceLabels, M>: Metric,
    {
        if let [None] = self.names[..] {
            let metric = M::default();
            self.registry.register(name, help, metric.clone());
            return vec![metric];
        }
        let family = Family::<DeviceLabels, M>::default();
        self.registry.register(name, help, family.clone());
        let labelled = self.names.iter().flatten().map(|device| {
            let device = device.clone();
            family.get_or_create_owned(&DeviceLabels { device })
        });
        labelled.collect()
    }
}
