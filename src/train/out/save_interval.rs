//! When the next checkpoint is due.

use ewe::finetune::Method;
use ewe::job::train::SaveEvery;
use std::time::Duration;

/// Default time between checkpoints on a GPU: a kill costs at most this much work, and writing 36
/// GB (a 6B model with 8-bit moments) takes half a minute of it.
const DEFAULT_TIME: Duration = Duration::from_secs(15 * 60);
/// Default steps between checkpoints on a CPU.
const DEFAULT_STEPS: u64 = 100;
/// Ends of epochs that follow the last checkpoint sooner than this save none: an epoch of few rows
/// takes seconds.
const EPOCH_GAP: Duration = Duration::from_secs(60);

/// When checkpoints are saved. Times are those since the first step of this process.
#[derive(Debug, Clone)]
pub struct SaveInterval {
    every: SaveEvery,
    /// Steps of an epoch, if the end of an epoch is due as well.
    epoch: Option<u64>,
    /// When the last checkpoint was saved, or the run began.
    last: Duration,
}

impl SaveInterval {
    /// Resolves `--save-every`. The default on a GPU is a quarter of an hour and the end of an
    /// epoch of `epoch` steps; on a CPU it is counted in steps, of `total` in all.
    pub fn resolve(
        given: Option<SaveEvery>,
        method: Method,
        total: u64,
        epoch: u64,
        on_gpu: bool,
    ) -> SaveInterval {
        let default = match (on_gpu, method) {
            (true, _) => SaveEvery::Time(DEFAULT_TIME),
            (false, Method::Lora) => SaveEvery::Steps((total / 10).clamp(1, DEFAULT_STEPS)),
            (false, Method::Full) => SaveEvery::Steps(DEFAULT_STEPS),
        };
        SaveInterval {
            every: given.unwrap_or(default),
            epoch: (on_gpu && given.is_none()).then_some(epoch.max(1)),
            last: Duration::ZERO,
        }
    }

    /// Returns whether a checkpoint is due after `done` steps, at `now`.
    pub fn is_due(&self, done: u64, now: Duration) -> bool {
        let since = now.saturating_sub(self.last);
        let epoch_ends = self.epoch.is_some_and(|steps| done.is_multiple_of(steps));
        let due = match self.every {
            SaveEvery::Steps(0) => false,
            SaveEvery::Steps(steps) => done.is_multiple_of(steps),
            SaveEvery::Time(time) => since >= time,
        };
        due || (epoch_ends && since >= EPOCH_GAP)
    }

    /// Records that a checkpoint was saved. `now` is when the run goes on.
    pub fn saved(&mut self, now: Duration) {
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the steps after which a checkpoint is saved, of `steps` that take `seconds` each.
    fn saved(mut interval: SaveInterval, steps: u64, seconds: u64) -> Vec<u64> {
        let mut saved = Vec::new();
        for done in 1..=steps {
            let now = Duration::from_secs(done * seconds);
            if interval.is_due(done, now) {
                interval.saved(now);
                saved.push(done);
            }
        }
        saved
    }

    #[test]
    fn on_a_cpu_steps_are_counted() {
        let of = |method, total| SaveInterval::resolve(None, method, total, 7, false);
        assert_eq!(saved(of(Method::Lora, 50), 20, 900), [5, 10, 15, 20]);
        assert_eq!(saved(of(Method::Lora, 5000), 250, 900), [100, 200]);
        assert_eq!(saved(of(Method::Full, 50), 250, 900), [100, 200]);
        let none = SaveInterval::resolve(Some(SaveEvery::Steps(0)), Method::Lora, 50, 7, true);
        assert!(saved(none, 50, 900).is_empty());
    }

    #[test]
    fn on_a_gpu_time_and_epochs_count() {
        // 100 s a step: a quarter of an hour is over after nine, an epoch after twelve.
        let default = SaveInterval::resolve(None, Method::Full, 1000, 12, true);
        assert_eq!(saved(default.clone(), 40, 100), [9, 12, 21, 24, 33, 36]);
        // Of epochs of 12 s, every fifth ends a minute after the last checkpoint.
        assert_eq!(saved(default, 120, 1), [60, 120]);
    }

    #[test]
    fn a_given_time_is_measured_from_the_last_checkpoint() {
        let every = Some(SaveEvery::Time(Duration::from_secs(60)));
        let mut interval = SaveInterval::resolve(every, Method::Lora, 1000, 12, false);
        assert!(!interval.is_due(12, Duration::from_secs(59)));
        assert!(interval.is_due(13, Duration::from_secs(60)));
        // Another reason saved one: the best evaluation so far.
        interval.saved(Duration::from_secs(59));
        assert!(!interval.is_due(14, Duration::from_secs(118)));
        assert!(interval.is_due(15, Duration::from_secs(119)));
    }
}
