//! How long to wait before another attempt.

use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};
use std::time::{Duration, SystemTime};

/// The longest wait, even if a server asks for more.
const LONGEST: Duration = Duration::from_secs(120);

/// Exponential backoff with jitter, so that requests that failed together are not sent together
/// again.
#[derive(Debug)]
pub struct Backoff {
    base: Duration,
    tries: u32,
    jitter: u64,
}

impl Backoff {
    /// Starts with a wait of at most `base`. `seed` decides the jitter.
    pub fn new(base: Duration, seed: u64) -> Self {
        Backoff {
            base,
            tries: 0,
            jitter: seed | 1,
        }
    }

    /// Returns the next wait: between half and all of base · 2ⁿ.
    pub fn wait(&mut self) -> Duration {
        let full = self.base * 2u32.pow(self.tries.min(8));
        self.tries += 1;
        self.jitter = self
            .jitter
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let part = (self.jitter >> 40) as f64 / (1u64 << 24) as f64;
        full.mul_f64(0.5 + part / 2.0).min(LONGEST)
    }

    /// Starts again with a first wait, after a success.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

/// Reads `Retry-After` (RFC 9110, 10.2.3), in seconds or as a date: at most two minutes. A date is
/// compared with the response's own `Date`, so that a wrong clock on either side does no harm.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let asked = text(RETRY_AFTER)?;
    if let Ok(seconds) = asked.parse::<f64>() {
        return (seconds.is_finite() && seconds >= 0.0)
            .then(|| Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64())));
    }
    let then = httpdate::parse_http_date(asked).ok()?;
    let now = text(DATE).and_then(|date| httpdate::parse_http_date(date).ok());
    let wait = then
        .duration_since(now.unwrap_or_else(SystemTime::now))
        .unwrap_or_default();
    Some(wait.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_are_bounded() {
        let base = Duration::from_millis(500);
        let mut backoff = Backoff::new(base, 7);
        for n in 0..20 {
            let full = base * 2u32.pow(n.min(8));
            let wait = backoff.wait();
            assert!(
                wait >= (full / 2).min(LONGEST) && wait <= full.min(LONGEST),
                "{n}: {wait:?}"
            );
        }
        backoff.reset();
        assert!(backoff.wait() <= base);
    }

    #[test]
    fn the_server_s_wish_is_read() {
        let mut headers = HeaderMap::new();
        let date = |seconds| httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(seconds));
        let wishes = [
            ("3", Some(3)),
            ("-1", None),
            ("soon", None),
            ("1e99", Some(120)),
            (&date(86_400), Some(120)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
        ];
        for (value, wanted) in wishes {
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            assert_eq!(retry_after(&headers), wanted.map(Duration::from_secs), "{value}");
        }
        // Compared with the server's clock.
        headers.insert(RETRY_AFTER, "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
        headers.insert(DATE, "Sun, 06 Nov 1994 08:49:30 GMT".parse().unwrap());
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(7)));
    }
}
