//! `metrics.jsonl`: one line a step.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A step's line. Fields that do not apply are left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// Counted from 1.
    pub step: u64,
    /// Mean negative log-likelihood over the step's target tokens, in nats, before the update; null when not finite.
    pub loss: Option<f64>,
    /// Learning rate of the update.
    pub lr: f64,
    /// Global norm of the gradients before clipping; null when not finite.
    pub grad_norm: Option<f64>,
    /// Tokens that the loss falls on.
    pub target_tokens: usize,
    /// Tokens of the step's examples, without padding.
    pub tokens: usize,
    /// Those a second.
    pub tokens_per_s: f64,
    /// Arithmetic that the step needs, a second, over the rate of a large matrix product measured at the start.
    pub mfu: f64,
    /// Seconds of the step in which weights were moved; on a GPU, in which that was asked for.
    #[serde(default)]
    pub update_s: f64,
    /// The most bytes that there were at once, as the allocator counts them; on a GPU, those of the machine beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Bytes of the process that were in the machine's memory when the step ended: `memory`, what the allocator keeps for the steps to
    /// come, libtorch, and what all else takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident: Option<u64>,
    /// Why the step was skipped, if it was: the weights did not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// The rows of a skipped step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<String>,
    /// Mean negative log-likelihood over the held-out target tokens, after the step's update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_loss: Option<f64>,
    /// Its exponential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_perplexity: Option<f64>,
    /// The held-out loss before the first step; on the first line only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_loss_before: Option<f64>,
}

impl StepMetrics {
    /// What is shown of it while it runs.
    pub fn message(&self) -> String {
        let loss = self
            .loss
            .map_or("loss not finite".to_owned(), |loss| format!("loss {loss:.3}"));
        let held_out = self
            .eval_loss
            .map_or(String::new(), |loss| format!(", held out {loss:.3}"));
        format!(
            "{loss}{held_out}, {:.0} tokens/s, {:.0}% mfu",
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
    /// Opens `OUT/metrics.jsonl` and keeps the lines of the first `steps` steps, which it gives: those after a checkpoint belong
    /// to steps that will be done again.
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

    /// Appends a line. It reaches the system at once, so a killed run loses none.
    pub fn append(&mut self, metrics: &StepMetrics) -> Result<()> {
        let mut line = serde_json::to_string(metrics)?;
        line.push('\n');
        self.file
            .write_all(line.as_bytes())
            .with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Waits until the lines are on the disk; called before a checkpoint that stands for them.
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
}
