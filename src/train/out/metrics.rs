//! `metrics.jsonl`: one line per step.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Metrics of one step. Fields that do not apply are left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// Number of the step, counted from 1.
    pub step: u64,
    /// Mean negative log-likelihood of the step's targets, in nats, before the update; null if not
    /// finite.
    pub loss: Option<f64>,
    /// Learning rate.
    pub lr: f64,
    /// Global norm of the gradients before clipping; null if not finite.
    pub grad_norm: Option<f64>,
    /// Tokens that the loss is computed on.
    pub target_tokens: usize,
    /// Tokens of the step's examples, without padding.
    pub tokens: usize,
    /// Tokens per second.
    pub tokens_per_s: f64,
    /// Floating-point operations that the step needs per second, as a share of the rate of a large
    /// matrix product measured at the start.
    pub mfu: f64,
    /// Seconds of the step spent on the update; on a GPU with `--update-in-backward`, on launching
    /// it.
    #[serde(default)]
    pub update_s: f64,
    /// Peak of allocated bytes, on the device that is trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Resident bytes of the process after the step: `memory`, what the allocator keeps for later
    /// steps, libtorch, and everything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident: Option<u64>,
    /// Bytes that libtorch has allocated on the GPU after the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory: Option<u64>,
    /// Most bytes that libtorch had allocated on the GPU during the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory_peak: Option<u64>,
    /// Percentage of the last moment in which the GPU ran a kernel, as NVML tells it; of all
    /// processes that use the GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_utilization: Option<u32>,
    /// Why the step was skipped, if it was: the weights did not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// Rows of a skipped step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<String>,
    /// Mean negative log-likelihood of the held-out targets after the update, in nats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_loss: Option<f64>,
    /// Exponential of `eval_loss`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_perplexity: Option<f64>,
    /// Held-out loss before the first step; on the first line only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_loss_before: Option<f64>,
}

impl StepMetrics {
    /// Returns the text beside the progress bar.
    pub fn message(&self) -> String {
        let loss = self
            .loss
            .map_or("loss not finite".to_owned(), |loss| format!("loss {loss:.3}"));
        let held_out = self
            .eval_loss
            .map_or(String::new(), |loss| format!(", held out {loss:.3}"));
        let memory = self.gpu_memory_peak.map_or(String::new(), |bytes| {
            format!(", {:.1} GB on the GPU", bytes as f64 / 1e9)
        });
        let busy = self
            .gpu_utilization
            .map_or(String::new(), |percent| format!(", {percent}% busy"));
        format!(
            "{loss}{held_out}, {:.0} tokens/s, {:.0}% mfu{memory}{busy}",
            self.tokens_per_s,
            100.0 * self.mfu
        )
    }
}

/// The open file.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    file: File,
}

impl MetricsFile {
    /// Opens `OUT/metrics.jsonl`, keeps the lines of the first `steps` steps and returns them:
    /// lines after a checkpoint belong to steps that will be done again.
    pub fn open(out: &Path, steps: u64) -> Result<(MetricsFile, Vec<StepMetrics>)> {
        let path = out.join("metrics.jsonl");
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        let (mut kept, mut past) = (String::new(), Vec::new());
        for line in old.lines() {
            if let Ok(metrics) = serde_json::from_str::<StepMetrics>(line)
                && metrics.step <= steps
            {
                kept += line;
                kept += "\n";
                past.push(metrics);
            }
        }
        super::files::write(&path, kept.as_bytes())?;
        let file = File::options()
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        Ok((MetricsFile { path, file }, past))
    }

    /// Returns the steps that [`MetricsFile::open`] returns, and leaves the file as it is.
    pub fn past(out: &Path, steps: u64) -> Vec<StepMetrics> {
        let old = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap_or_default();
        let lines = old.lines().map(serde_json::from_str::<StepMetrics>);
        lines.flatten().filter(|metrics| metrics.step <= steps).collect()
    }

    /// Appends a line. It reaches the system at once, so a killed run loses none.
    pub fn append(&mut self, metrics: &StepMetrics) -> Result<()> {
        let mut line = serde_json::to_string(metrics)?;
        line.push('\n');
        self.file
            .write_all(line.as_bytes())
            .with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Flushes the lines to disk; called before the checkpoint that they belong to.
    pub fn sync(&self) -> Result<()> {
        self.file
            .sync_data()
            .with_context(|| format!("cannot flush {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_after_the_checkpoint_and_torn_ones_are_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, past) = MetricsFile::open(dir.path(), 0).unwrap();
        assert!(past.is_empty());
        for step in 1..=3 {
            file.append(&StepMetrics {
                step,
                loss: Some(2.5),
                ..Default::default()
            })
            .unwrap();
        }
        file.file.write_all(b"{\"step\":4,\"lo").unwrap();
        let (_, past) = MetricsFile::open(dir.path(), 2).unwrap();
        assert_eq!(past.iter().map(|of| of.step).collect::<Vec<_>>(), [1, 2]);
        let text = std::fs::read_to_string(dir.path().join("metrics.jsonl")).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.ends_with('\n') && !text.contains("skipped"), "{text}");
    }

    #[test]
    fn figures_of_a_gpu_are_there_on_a_gpu_only() {
        let keys = |metrics: &StepMetrics| -> Vec<String> {
            let value = serde_json::to_value(metrics).unwrap();
            let keys = value.as_object().unwrap().keys();
            keys.filter(|key| key.starts_with("gpu_")).cloned().collect()
        };
        let on_cpu = StepMetrics {
            loss: Some(2.0),
            ..Default::default()
        };
        assert!(keys(&on_cpu).is_empty());
        assert_eq!(on_cpu.message(), "loss 2.000, 0 tokens/s, 0% mfu");
        let on_gpu = StepMetrics {
            gpu_memory: Some(30_000_000_000),
            gpu_memory_peak: Some(61_540_000_000),
            gpu_utilization: Some(97),
            ..on_cpu
        };
        assert_eq!(
            keys(&on_gpu),
            ["gpu_memory", "gpu_memory_peak", "gpu_utilization"]
        );
        assert!(
            on_gpu.message().ends_with("% mfu, 61.5 GB on the GPU, 97% busy"),
            "{}",
            on_gpu.message()
        );
    }
}
