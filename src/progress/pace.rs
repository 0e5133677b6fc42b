//! How fast work goes now, and how long it will go on.

use std::collections::VecDeque;
use std::time::Duration;

/// Moments closer together than this part of the time so far are one.
const CLOSE: u32 = 256;

/// Where work stood at some moments. Its pace is that of the later half of the time: the beginning, with a model still
/// warming up and few requests in flight, says little about the rest.
#[derive(Debug)]
pub struct Pace {
    total: u64,
    moments: VecDeque<(Duration, u64)>,
}

impl Pace {
    /// Of work that starts at `first` of `total`.
    pub fn starting(first: u64, total: u64) -> Pace {
        Pace {
            total,
            moments: [(Duration::ZERO, first)].into(),
        }
    }

    /// At this moment, counted from the start, the work stood at `position`. Moments come in order.
    pub fn note(&mut self, at: Duration, position: u64) {
        let is_close = |&(before, _): &(Duration, u64)| at - before < at / CLOSE;
        if self.moments.iter().nth_back(1).is_some_and(is_close) {
            self.moments.pop_back();
        }
        self.moments.push_back((at, position));
        // The first one is the last of the earlier half.
        while self.moments.get(1).is_some_and(|&(second, _)| second <= at / 2) {
            self.moments.pop_front();
        }
    }

    /// How long the rest takes at the pace of now; none while nobody can tell.
    pub fn left(&self) -> Option<Duration> {
        let (&(then, before), &(now, position)) = (self.moments.front()?, self.moments.back()?);
        let done = position.saturating_sub(before);
        let open = self.total.saturating_sub(position);
        let seconds = (now - then).as_secs_f64() * (open as f64 / done as f64);
        // Longer than a clock can tell is as good as unknown.
        (done > 0).then(|| Duration::try_from_secs_f64(seconds).ok())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_start_is_forgotten() {
        let mut pace = Pace::starting(100, 15_000);
        assert_eq!(pace.left(), None);
        let second = Duration::from_secs;
        for n in 0..20 {
            pace.note(second(n), 100);
        }
        assert_eq!(pace.left(), None);
        // Ten a second from then on, and more moments than are remembered.
        for n in 20..=1000 {
            pace.note(second(n), 100 + 10 * (n - 20));
        }
        let left = pace.left().unwrap().as_secs_f64();
        assert!((left - 510.0).abs() < 5.0, "{left}");
        assert!(pace.moments.len() <= 2 * CLOSE as usize);
    }
}
