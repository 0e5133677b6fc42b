//! How many requests may be in flight at an endpoint: additive increase, multiplicative decrease
//! (Chiu and Jain 1989), with TCP's slow start (RFC 5681), so that the limit of a large endpoint is
//! reached quickly.

use std::time::{Duration, Instant};

/// What the options allow at one endpoint.
#[derive(Debug, Clone, Copy)]
pub struct EndpointLimits {
    /// The most requests in flight.
    pub concurrency: usize,
    /// While answers take longer than this, the limit does not grow; while they take twice as long,
    /// it shrinks.
    pub slow: Option<Duration>,
    /// How long the first request to an endpoint goes ahead alone.
    pub ahead: Duration,
    /// How many failures in a row are followed by another attempt.
    pub retries: u32,
    /// The longest first wait after a failure.
    pub backoff: Duration,
}

/// The first limit. A large endpoint is reached after a few round trips. A small one queues the
/// requests for a moment, or refuses some, and gets fewer.
const START: usize = 32;

/// The first limit if `--concurrency` is not given.
const CREEPING_START: usize = 8;

/// An adaptive limit. Answers and failures of requests sent before the last cut say nothing about
/// the limit after it, and change nothing. So it halves at most once per round trip.
#[derive(Debug, Clone)]
pub struct ConcurrencyLimit {
    now: usize,
    most: usize,
    /// Answers since the limit grew last.
    answers: usize,
    last_cut: Option<Instant>,
}

impl ConcurrencyLimit {
    /// Starts low, and never exceeds `most`.
    pub fn new(most: usize) -> Self {
        let most = most.max(1);
        ConcurrencyLimit {
            now: most.min(START),
            most,
            answers: 0,
            last_cut: None,
        }
    }

    /// Starts even lower, for an endpoint whose concurrency was not given: a server with a queue
    /// accepts any number of requests and may answer none of them in time.
    pub fn creeping(most: usize) -> Self {
        ConcurrencyLimit {
            now: most.clamp(1, CREEPING_START),
            ..ConcurrencyLimit::new(most)
        }
    }

    /// Returns how many requests may be in flight; at least one.
    pub fn get(&self) -> usize {
        self.now
    }

    /// Notes an answer to a request sent at `sent`. Until the first cut, the limit grows by one per
    /// answer; after it, by one per as many answers as it allows requests. It grows only if other
    /// requests wait (`is_felt`): otherwise nothing shows that the endpoint can take more.
    pub fn answered(&mut self, sent: Instant, is_felt: bool) {
        if self.last_cut.is_some_and(|cut| sent < cut) || !is_felt {
            return;
        }
        self.answers += 1;
        if self.last_cut.is_none() || self.answers >= self.now {
            self.answers = 0;
            self.now = (self.now + 1).min(self.most);
        }
    }

    /// Halves the limit, after a request sent at `sent` met an overloaded endpoint.
    pub fn overloaded(&mut self, sent: Instant, now: Instant) {
        if self.last_cut.is_none_or(|cut| sent >= cut) {
            self.now = (self.now / 2).max(1);
            self.answers = 0;
            self.last_cut = Some(now);
        }
    }

    /// Starts again at one, as if nothing were known of the endpoint. The limit may grow quickly
    /// again.
    pub fn restart(&mut self) {
        self.now = 1;
        self.answers = 0;
        self.last_cut = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers as many requests as the limit allows, all sent at `at`.
    fn round_trip(limit: &mut ConcurrencyLimit, at: Instant) {
        let window = limit.get();
        for _ in 0..window {
            limit.answered(at, true);
        }
    }

    #[test]
    fn it_doubles_halves_once_and_creeps() {
        let start = Instant::now();
        let at = |n| start + Duration::from_secs(n);
        let mut limit = ConcurrencyLimit::new(100);
        assert_eq!(limit.get(), 32);
        round_trip(&mut limit, at(0));
        assert_eq!(limit.get(), 64);
        for n in 1..3 {
            round_trip(&mut limit, at(n));
        }
        assert_eq!(limit.get(), 100);
        for _ in 0..50 {
            limit.overloaded(at(5), at(6));
        }
        assert_eq!(limit.get(), 50, "fifty refusals of one round-trip");
        // Answers to requests sent before the cut change nothing either.
        round_trip(&mut limit, at(5));
        assert_eq!(limit.get(), 50);
        round_trip(&mut limit, at(7));
        round_trip(&mut limit, at(8));
        assert_eq!(limit.get(), 52);
        limit.overloaded(at(9), at(10));
        assert_eq!(limit.get(), 26);
        limit.restart();
        assert_eq!(limit.get(), 1);
    }

    #[test]
    fn it_stays_within_its_bounds() {
        let start = Instant::now();
        let mut limit = ConcurrencyLimit::new(0);
        assert_eq!(limit.get(), 1);
        for n in 0..10 {
            round_trip(&mut limit, start + Duration::from_secs(n));
        }
        assert_eq!(limit.get(), 1);
        limit.overloaded(start, start + Duration::from_secs(11));
        assert_eq!(limit.get(), 1);
    }

    #[test]
    fn what_nobody_feels_does_not_grow() {
        let mut limit = ConcurrencyLimit::new(64);
        for _ in 0..100 {
            limit.answered(Instant::now(), false);
        }
        assert_eq!(limit.get(), 32);
    }
}
