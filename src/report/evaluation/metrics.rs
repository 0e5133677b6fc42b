//! `metrics.jsonl` of a training run: a line per step, in the folder that the run wrote to. It is
//! not part of the dataset, so it may be gone.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::Deserialize;

/// The most bytes that are read: some 200,000 steps.
const MOST_BYTES: u64 = 64 << 20;
/// The most points of each line of a chart.
const MOST_POINTS: usize = 200;

/// The losses of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Losses {
    /// Steps with the mean loss of the steps since the point before.
    pub train: Vec<(u64, f64)>,
    /// Steps with the loss on what was held out; step 0 is before the first.
    pub held_out: Vec<(u64, f64)>,
    /// Steps with the learning rate.
    pub rates: Vec<(u64, f64)>,
    /// Steps with the most memory that they took, in gigabytes: of the GPU, or of the process.
    pub memory: Vec<(u64, f64)>,
    /// The last step.
    pub steps: u64,
    /// Steps that were skipped.
    pub skipped: usize,
    /// The lowest held-out loss, with its step.
    pub best: Option<(u64, f64)>,
    /// Whether there is more than was read.
    pub is_cut: bool,
}

/// A line.
#[derive(Deserialize)]
struct Line {
    step: u64,
    loss: Option<f64>,
    lr: Option<f64>,
    memory: Option<f64>,
    resident: Option<f64>,
    gpu_memory_peak: Option<f64>,
    skipped: Option<serde::de::IgnoredAny>,
    eval_loss: Option<f64>,
    eval_loss_before: Option<f64>,
}

/// Reads the losses. Lines that are none are left out: a killed run may have left half of one.
///
/// # Errors
///
/// In words, if there is no such file, or nothing in it.
pub fn read(path: &Path) -> Result<Losses, String> {
    // Before it is opened: a named pipe would wait for a writer.
    let metadata = std::fs::metadata(path).map_err(|_| "is not there any more".to_owned())?;
    if !metadata.is_file() {
        return Err("is no file".to_owned());
    }
    let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut losses = Losses {
        is_cut: metadata.len() > MOST_BYTES,
        ..Losses::default()
    };
    let mut lines = BufReader::new(file.take(MOST_BYTES));
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        if let Ok(line) = serde_json::from_slice::<Line>(&line) {
            losses.add(line);
        }
        line.clear();
    }
    if losses.train.is_empty() && losses.held_out.is_empty() {
        return Err("has no losses".to_owned());
    }
    losses.finish();
    Ok(losses)
}

impl Losses {
    fn add(&mut self, line: Line) {
        // A step may be there again after a checkpoint was resumed from: the later one counts.
        for points in [
            &mut self.train,
            &mut self.held_out,
            &mut self.rates,
            &mut self.memory,
        ] {
            while points.last().is_some_and(|point| point.0 >= line.step) {
                points.pop();
            }
        }
        if let Some(before) = line.eval_loss_before.filter(|_| self.held_out.is_empty()) {
            self.held_out.push((0, before));
        }
        self.train.extend(line.loss.map(|loss| (line.step, loss)));
        self.held_out.extend(line.eval_loss.map(|loss| (line.step, loss)));
        self.rates.extend(line.lr.map(|rate| (line.step, rate)));
        let bytes = line.gpu_memory_peak.or(line.resident).or(line.memory);
        self.memory.extend(bytes.map(|bytes| (line.step, bytes / 1e9)));
        self.steps = line.step;
        self.skipped += usize::from(line.skipped.is_some());
    }

    /// Finds the best, and takes fewer points.
    fn finish(&mut self) {
        let finite = self.held_out.iter().copied().filter(|point| point.1.is_finite());
        self.best = finite.min_by(|a, b| a.1.total_cmp(&b.1));
        let mean = |some: &[(u64, f64)]| some.iter().map(|point| point.1).sum::<f64>() / some.len() as f64;
        let most = |some: &[(u64, f64)]| some.iter().map(|point| point.1).fold(0.0, f64::max);
        self.train = in_parts(&self.train, mean);
        self.rates = in_parts(&self.rates, mean);
        self.memory = in_parts(&self.memory, most);
        let each = self.held_out.len().div_ceil(MOST_POINTS).max(1);
        let last = self.held_out.len().saturating_sub(1);
        let kept = self.held_out.iter().enumerate();
        let kept = kept.filter(|(at, _)| at % each == 0 || *at == last);
        self.held_out = kept.map(|(_, point)| *point).collect();
    }

    /// Returns the lines of their chart.
    pub fn lines(&self) -> Vec<(&'static str, &[(u64, f64)])> {
        vec![("trained on", &self.train), ("held out", &self.held_out)]
    }

    /// Returns the held-out loss before the first step and after the last.
    pub fn change(&self) -> Option<(f64, f64)> {
        let &(step, before) = self.held_out.first()?;
        let &(last, after) = self.held_out.last()?;
        (step == 0 && last > 0).then_some((before, after))
    }
}

/// Returns at most [`MOST_POINTS`] points, each for as many of these as the others, at the last of
/// them.
fn in_parts(points: &[(u64, f64)], value: impl Fn(&[(u64, f64)]) -> f64) -> Vec<(u64, f64)> {
    let each = points.len().div_ceil(MOST_POINTS).max(1);
    let parts = points.chunks(each);
    parts.map(|some| (some[some.len() - 1].0, value(some))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_read_and_thinned_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        assert_eq!(read(&path).unwrap_err(), "is not there any more");
        assert_eq!(read(dir.path()).unwrap_err(), "is no file");
        std::fs::write(&path, "nonsense\n").unwrap();
        assert_eq!(read(&path).unwrap_err(), "has no losses");
        let mut text = "{\"step\": 1, \"loss\": 4.0, \"lr\": 1e-4, \"eval_loss_before\": 3.5}\n".to_owned();
        for step in 2..=1000 {
            let held_out = if step % 100 == 0 {
                ", \"eval_loss\": 3.0"
            } else {
                ""
            };
            let memory = 1_000_000_000 + step;
            text += &format!("{{\"step\": {step}, \"loss\": 2.0, \"memory\": {memory}{held_out}}}\n");
        }
        // Steps that were done again, one that was skipped, and half of a line.
        text += "{\"step\": 999, \"loss\": 2.0}\n{\"step\": 1000, \"loss\": null, \"skipped\": \"x\", \"eval_loss\": 2.5}\n{\"ste";
        std::fs::write(&path, text).unwrap();
        let losses = read(&path).unwrap();
        assert_eq!(
            (losses.steps, losses.skipped, losses.best),
            (1000, 1, Some((1000, 2.5)))
        );
        assert_eq!(losses.change(), Some((3.5, 2.5)));
        assert_eq!(losses.held_out.len(), 11);
        assert_eq!(losses.rates, [(1, 1e-4)]);
        assert!(losses.memory.len() <= MOST_POINTS, "{}", losses.memory.len());
        assert_eq!(losses.memory[0], (6, 1.000000006));
        assert!(losses.train.len() <= MOST_POINTS && losses.train[0] == (5, 2.4));
    }
}
