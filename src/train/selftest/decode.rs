//! Decode steps of the engine with a random model, timed and traced.

use super::kernel_speed::wait;
use super::models;
use super::step_trace::StepTrace;
use crate::engine::batch::{BatchConfig, Begun, Engine, EngineRequest, Listener, RequestOptions};
use crate::model::device::has_bf16;
use crate::model::files::config::ConfigFields;
use crate::train::out::files;
use anyhow::{Result, bail, ensure};
use ewe::atomic_file::scratch::ScratchFolder;
use ewe::backend::{FinishReason, Sampling};
use ewe::text::counted;
use serde::{Deserialize, Serialize};
use std::sync::mpsc::{self, Sender};
use std::time::Instant;
use tch::{Device, Kind};

/// Steps before the first that is timed: prefill, and decode steps that warm up.
const WARM_UP: u32 = 4;

/// Sequences that a random model continues.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecodeWorkload {
    /// The model's config.json.
    config: serde_json::Value,
    /// Sequences at once.
    sequences: u32,
    /// Tokens of each prompt.
    prompt: u32,
    /// Timed decode steps.
    steps: u32,
}

/// The result, as JSON on standard output.
#[derive(Debug, Serialize)]
pub struct DecodeReport {
    sequences: u32,
    layers: usize,
    seconds_per_step: f64,
    tokens_per_s: f64,
    trace: StepTrace,
}

/// Reports how its request failed.
struct Failures(Sender<String>);

impl Listener for Failures {
    fn token(&mut self, _: i64) -> bool {
        true
    }

    fn done(&mut self, _: FinishReason, tokens: usize) {
        self.failed(format!(
            "a request ended early, after {}",
            counted(tokens, "token")
        ));
    }

    fn failed(&mut self, reason: String) {
        // Once the report is complete nobody listens.
        let _ = self.0.send(reason);
    }

    fn gone(&self) -> bool {
        false
    }
}

impl DecodeWorkload {
    /// Generates on `device`: [`WARM_UP`] steps, the timed ones, and one that is traced.
    pub fn report(&self, device: Device) -> Result<DecodeReport> {
        ensure!(
            self.sequences > 0 && self.prompt > 0 && self.steps > 0,
            "sequences, prompt and steps must be positive"
        );
        let dir = ScratchFolder::within(&std::env::temp_dir())?;
        files::write_json(&dir.path().join("config.json"), &self.config)?;
        let kind = if has_bf16(device) {
            Kind::BFloat16
        } else {
            Kind::Float
        };
        let mut model = models::random(&ConfigFields::read(dir.path())?, kind, device)?;
        if device.is_cuda() {
            // As a model is opened for inference.
            model.join_projections();
        }
        let (layers, vocab) = (model.info().layers, model.info().vocab);
        let config = BatchConfig {
            max_batch: self.sequences as usize,
            prefix_bytes: 0,
            ..BatchConfig::default()
        };
        let mut engine = Engine::new(model, kind, device, config);
        let (sender, failures) = mpsc::channel();
        for sequence in 0..self.sequences {
            engine.submit(self.request(sequence, vocab, sender.clone()));
        }
        let mut step = || {
            engine.advance();
            engine.deliver();
            match failures.try_recv() {
                Ok(reason) => bail!("{reason}"),
                Err(_) => Ok(()),
            }
        };
        for _ in 0..WARM_UP {
            step()?;
        }
        wait(device);
        let begun = Instant::now();
        for _ in 0..self.steps {
            step()?;
        }
        wait(device);
        let seconds = begun.elapsed().as_secs_f64() / f64::from(self.steps);
        Ok(DecodeReport {
            sequences: self.sequences,
            layers,
            seconds_per_step: seconds,
            tokens_per_s: f64::from(self.sequences) / seconds,
            trace: StepTrace::of(device, step)?,
        })
    }

    fn request(&self, sequence: u32, vocab: i64, failures: Sender<String>) -> EngineRequest {
        let token = |at: u32| (i64::from(sequence) * 7919 + i64::from(at) * 104_729) % vocab;
        EngineRequest {
            prompt: (0..self.prompt).map(token).collect(),
            sampling: Sampling {
                max_tokens: (WARM_UP + self.steps + 8) as usize,
                seed: u64::from(sequence),
                ..Sampling::default()
            },
            end_tokens: Vec::new(),
            options: RequestOptions::default(),
            listener: Box::new(Failures(failures)),
            begun: Begun::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_decode_step_is_traced_and_has_no_operator_of_cudnn() {
        let (_, config) = crate::model::selftest_configs()
            .find(|(family, _)| *family == "gptj")
            .unwrap();
        let work = json!({"config": config, "sequences": 3, "prompt": 4, "steps": 2});
        let work: DecodeWorkload = serde_json::from_value(work).unwrap();
        let report = work.report(Device::Cpu).unwrap();
        assert!(
            report.trace.operators > 0 && report.trace.cudnn.is_empty(),
            "{report:?}"
        );
        assert!(report.tokens_per_s > 0.0 && report.layers > 0, "{report:?}");
    }
}
