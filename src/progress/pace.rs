//! The present pace of work, and the time left.

use std::collections::VecDeque;
use std::time::Duration;

/// Two moments closer than this part of the elapsed time count as one.
const CLOSE: u32 = 256;

/// Positions of the work at some moments. The pace is that of the later half of the elapsed time:
/// the beginning, with a model still warming up and few requests in flight, says little about the
/// rest.
#[derive(Debug)]
pub struct Pace {
    total: u64,
    moments: VecDeque<(Duration, u64)>,
}

impl Pace {
    /// Starts at `first` of `total`.
    pub fn starting(first: u64, total: u64) -> Pace {
        Pace {
            total,
            moments: [(Duration::ZERO, first)].into(),
        }
    }

    /// Records the position at a time since the start. Times must not decrease.
    pub fn note(&mut self, at: Duration, position: u64) {
        let is_close = |&(before, _): &(Duration, u64)| at - before < at / CLOSE;
        if self.moments.iter().nth_back(1).is_some_and(is_close) {
            self.moments.pop_back();
        }
        self.moments.push_back((at, position));
        // Keeps only the last moment of the earlier half.
        while self.moments.get(1).is_some_and(|&(second, _)| second <= at / 2) {
            self.moments.pop_front();
        }
    }

    /// Returns how much is done in a second, at the present pace.
    pub fn rate(&self) -> f64 {
        let (Some(&(then, before)), Some(&(now, position))) = (self.moments.front(), self.moments.back())
        else {
            return 0.0;
        };
        let seconds = (now - then).as_secs_f64();
        if seconds > 0.0 {
            position.saturating_sub(before) as f64 / seconds
        } else {
            0.0
        }
    }

    /// Returns the time left at the present pace, or `None` while it is unknown.
    pub fn left(&self) -> Option<Duration> {
        let (&(then, before), &(now, position)) = (self.moments.front()?, self.moments.back()?);
        let done = position.saturating_sub(before);
        let open = self.total.saturating_sub(position);
        if open == 0 {
            return Some(Duration::ZERO);
        }
        let seconds = (now - then).as_secs_f64() * (open as f64 / done as f64);
        // More than a `Duration` can hold is as good as unknown.
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
        // Ten per second from then on, and more moments than are kept.
        for n in 20..=1000 {
            pace.note(second(n), 100 + 10 * (n - 20));
        }
        let left = pace.left().unwrap().as_secs_f64();
        assert!((left - 510.0).abs() < 5.0, "{left}");
        assert!((pace.rate() - 10.0).abs() < 0.1, "{}", pace.rate());
        assert!(pace.moments.len() <= 2 * CLOSE as usize);
    }

    #[test]
    fn what_was_there_before_has_no_pace_and_what_is_done_takes_no_time() {
        let mut pace = Pace::starting(40, 60);
        pace.note(Duration::from_secs(5), 40);
        assert_eq!((pace.rate(), pace.left()), (0.0, None));
        let mut pace = Pace::starting(0, 41);
        pace.note(Duration::from_secs(12), 41);
        assert_eq!(pace.left(), Some(Duration::ZERO));
    }
}
