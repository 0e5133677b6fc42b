//! How long to wait before a request is tried again.

use reqwest::header::{HeaderMap, RETRY_AFTER};
use std::time::Duration;

/// The longest wait, whatever a server asks for.
const LONGEST: Duration = Duration::from_secs(120);

/// Exponential back-off with jitter, starting at half a second.
#[derive(Debug)]
pub struct Backoff {
    tries: u32,
    jitter: u64,
}

impl Backoff {
    /// `seed` tells the waits of several clients apart.
    pub fn new(seed: u64) -> Self {
        Backoff {
            tries: 0,
            jitter: seed | 1,
        }
    }

    /// Waits handed out so far.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// The next wait: what the server asked for, or between half and all of 0.5 s · 2ⁿ.
    pub fn next(&mut self, asked: Option<Duration>) -> Duration {
        let full = Duration::from_millis(500) * 2u32.pow(self.tries.min(8));
        self.tries += 1;
        self.jitter = self
            .jitter
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let part = (self.jitter >> 40) as f64 / (1u64 << 24) as f64;
        asked
            .unwrap_or_else(|| full.mul_f64(0.5 + part / 2.0))
            .min(LONGEST)
    }
}

/// `Retry-After` in seconds, if the server sent it so.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0)
        .then(|| Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_are_bounded() {
        let mut backoff = Backoff::new(7);
        for n in 0..20 {
            let full = Duration::from_millis(500) * 2u32.pow(n.min(8));
            let wait = backoff.next(None);
            assert!(
                wait >= (full / 2).min(LONGEST) && wait <= full.min(LONGEST),
                "{n}: {wait:?}"
            );
        }
        assert_eq!(backoff.next(Some(Duration::from_secs(7))), Duration::from_secs(7));
    }

    #[test]
    fn the_server_s_wish_is_read() {
        let mut headers = HeaderMap::new();
        for (value, wanted) in [("3", Some(3)), ("-1", None), ("soon", None), ("1e99", Some(120))] {
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            assert_eq!(retry_after(&headers), wanted.map(Duration::from_secs), "{value}");
        }
    }
}
