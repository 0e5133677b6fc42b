//! How many requests may be in flight at an endpoint: additive increase, multiplicative decrease
//! (Chiu and Jain 1989), with TCP's slow start (RFC 5681), so that the limit of a large endpoint is
//! reached quickly, and an increase that grows while nothing fails, as CUBIC's does (RFC 9438): a
//! large endpoint that failed for a moment is used as before after some round trips, not after
//! hundreds.

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
    /// Answers of this round trip, which ends once they are as many as the limit.
    round: usize,
    /// Round trips since the last cut.
    calm: u32,
    last_cut: Option<Instant>,
    /// How many were in flight when the endpoint refused one more.
    ceiling: Option<usize>,
    /// How many round trips below the ceiling come before that number is tried again.
    patience: usize,
}

/// The fewest answers for which the limit grows by one after a cut, so that a round trip adds an
/// eighth of it at most: what is too much for the endpoint is exceeded by little.
const FEWEST_ANSWERS: usize = 8;

/// The first patience. It doubles with each refusal of the same number.
const PATIENCE: usize = 8;

/// The longest patience.
const MOST_PATIENCE: usize = 512;

impl ConcurrencyLimit {
    /// Starts low, and never exceeds `most`.
    pub fn new(most: usize) -> Self {
        let most = most.max(1);
        ConcurrencyLimit {
            now: most.min(START),
            most,
            answers: 0,
            round: 0,
            calm: 0,
            last_cut: None,
            ceiling: None,
            patience: PATIENCE,
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

    /// Sets another bound.
    pub fn set_most(&mut self, most: usize) {
        self.most = most.max(1);
        self.now = self.now.min(self.most);
    }

    /// Returns how many requests may be in flight; at least one.
    pub fn get(&self) -> usize {
        self.now
    }

    /// Notes an answer to a request sent at `sent`. Until the first cut, the limit grows by one per
    /// answer; after it, by one in the first round trip, and by twice as many in each that follows.
    /// It grows only if other requests wait (`is_felt`): otherwise nothing shows that the endpoint
    /// can take more. If so many were refused, it grows by one per answer to three quarters of
    /// them, slowly to one less, and stays there for a while.
    pub fn answered(&mut self, sent: Instant, is_felt: bool) {
        if self.last_cut.is_some_and(|cut| sent < cut) || !is_felt {
            return;
        }
        self.answers += 1;
        self.round += 1;
        if self.round >= self.now {
            self.round = 0;
            self.calm += 1;
        }
        let fewest = FEWEST_ANSWERS.min(self.now);
        let carefully = self.now.checked_shr(self.calm).unwrap_or(0).max(fewest);
        let needed = match self.ceiling {
            Some(ceiling) if self.now * 4 < ceiling * 3 => 1,
            Some(ceiling) if self.now + 1 == ceiling => self.now * self.patience,
            Some(_) => carefully,
            None if self.last_cut.is_none() => 1,
            None => carefully,
        };
        if self.answers >= needed {
            self.answers = 0;
            // A round trip of the number that was refused before: now the endpoint bears more.
            if self.ceiling.is_some_and(|ceiling| self.now >= ceiling) {
                self.ceiling = None;
                self.patience = PATIENCE;
            }
            self.now = (self.now + 1).min(self.most);
        }
    }

    /// Notes that the endpoint refused a request sent at `sent`, one of `in_flight`, because it has
    /// too many. The limit halves, and soon grows again to one less than were refused. Returns
    /// whether that was only a try of a number that was refused before: then the limit falls by
    /// one, and nobody needs to wait.
    pub fn refused(&mut self, sent: Instant, in_flight: usize, now: Instant) -> bool {
        if self.last_cut.is_some_and(|cut| sent < cut) {
            return false;
        }
        let met = self.now.min(in_flight).max(1);
        let was_tried = met > 1 && self.ceiling == Some(met);
        self.patience = match was_tried {
            true => (self.patience * 2).min(MOST_PATIENCE),
            false => PATIENCE,
        };
        self.cut(if was_tried { met - 1 } else { met / 2 }, now);
        self.ceiling = Some(met);
        was_tried
    }

    /// Halves the limit, after a request sent at `sent` met an overloaded endpoint.
    pub fn overloaded(&mut self, sent: Instant, now: Instant) {
        if self.last_cut.is_none_or(|cut| sent >= cut) {
            self.cut(self.now / 2, now);
        }
    }

    fn cut(&mut self, to: usize, now: Instant) {
        self.now = to.max(1);
        (self.answers, self.round, self.calm) = (0, 0, 0);
        self.last_cut = Some(now);
    }

    /// Starts again at one, as if nothing were known of the endpoint. The limit may grow quickly
    /// again.
    pub fn restart(&mut self) {
        self.now = 1;
        (self.answers, self.round, self.calm) = (0, 0, 0);
        self.last_cut = None;
        self.ceiling = None;
        self.patience = PATIENCE;
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
    fn it_doubles_halves_once_and_grows_with_care() {
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
        assert_eq!(limit.get(), 51);
        limit.overloaded(at(9), at(10));
        assert_eq!(limit.get(), 25);
        limit.restart();
        assert_eq!(limit.get(), 1);
    }

    #[test]
    fn a_large_limit_is_back_soon_after_one_failure() {
        let start = Instant::now();
        let at = |n| start + Duration::from_secs(n);
        let mut limit = ConcurrencyLimit::new(1250);
        for n in 0..6 {
            round_trip(&mut limit, at(n));
        }
        assert_eq!(limit.get(), 1250);
        limit.overloaded(at(7), at(8));
        assert_eq!(limit.get(), 625);
        let mut rounds = 0;
        while limit.get() < 1250 {
            let before = limit.get();
            round_trip(&mut limit, at(9 + rounds));
            assert!(
                limit.get() - before <= before / 8 + 1,
                "{before}, {}",
                limit.get()
            );
            rounds += 1;
        }
        assert!((8..20).contains(&rounds), "{rounds}");
        // A small one grows by one a round trip, as ever.
        let mut limit = ConcurrencyLimit::new(8);
        limit.overloaded(at(0), at(1));
        for n in 0..4 {
            assert_eq!(limit.get(), 4 + n);
            round_trip(&mut limit, at(2));
        }
    }

    #[test]
    fn it_stays_just_below_what_was_refused_and_seldom_tries_that_again() {
        // An endpoint that bears eight: how much of it is used in 4,000 round trips of a second?
        let start = Instant::now();
        let mut limit = ConcurrencyLimit::creeping(100);
        let (mut answers, mut waits) = (0, 0);
        for n in 0..4000 {
            let sent = start + Duration::from_secs(2 * n);
            let in_flight = limit.get();
            if in_flight > 8 && !limit.refused(sent, in_flight, sent + Duration::from_secs(1)) {
                waits += 1;
            }
            answers += in_flight.min(8);
            for _ in 0..in_flight.min(8) {
                limit.answered(sent + Duration::from_millis(1), true);
            }
        }
        assert!(answers > 8 * 4000 * 99 / 100, "{answers}");
        assert!(waits < 4, "{waits}");
        assert!((7..=9).contains(&limit.get()), "{}", limit.get());
        // When it bears more, the limit follows.
        for n in 4000..10_000 {
            for _ in 0..limit.get() {
                limit.answered(start + Duration::from_secs(2 * n), true);
            }
        }
        assert_eq!(limit.get(), 100);
        limit.set_most(10);
        assert_eq!(limit.get(), 10);
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
