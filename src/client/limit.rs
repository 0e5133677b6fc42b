//! How many requests may be under way at an endpoint: additive increase, multiplicative decrease (Chiu and Jain
//! 1989), with TCP's slow start (RFC 5681) so that a large endpoint is not crept up on.

use std::time::Instant;

/// Where a limit starts. A large endpoint is reached after few round-trips; a small one lets as many wait for a moment, or
/// says so and is asked for less.
const START: usize = 32;

/// Where it starts when nobody said how many shall be in flight.
const CREEPING_START: usize = 8;

/// An adaptive limit. Answers and failures of requests sent before the last cut say nothing about the limit after
/// it, and change nothing: so it halves at most once in a round-trip.
#[derive(Debug, Clone)]
pub struct Limit {
    now: usize,
    most: usize,
    /// Answers since the limit last grew.
    answers: usize,
    last_cut: Option<Instant>,
}

impl Limit {
    /// Starts low; never exceeds `most`.
    pub fn new(most: usize) -> Self {
        let most = most.max(1);
        Limit {
            now: most.min(START),
            most,
            answers: 0,
            last_cut: None,
        }
    }

    /// For an endpoint of which nobody said what it bears: starts lower still, since a server with a queue takes any number
    /// and has none of them answered in time.
    pub fn creeping(most: usize) -> Self {
        Limit {
            now: most.clamp(1, CREEPING_START),
            ..Limit::new(most)
        }
    }

    /// Requests that may be under way at once; at least one.
    pub fn get(&self) -> usize {
        self.now
    }

    /// A request sent at `sent` was answered; `is_felt` says that others wait for room. The limit grows by one for each
    /// answer until it was first cut, then by one for as many answers as it allows requests; not at all while nobody
    /// feels it, since then nothing shows that more would be borne.
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

    /// A request sent at `sent` met an endpoint that has too much to do: half as many from now on.
    pub fn overloaded(&mut self, sent: Instant, now: Instant) {
        if self.last_cut.is_none_or(|cut| sent >= cut) {
            self.now = (self.now / 2).max(1);
            self.answers = 0;
            self.last_cut = Some(now);
        }
    }

    /// Back to one, as for an endpoint that nothing is known of; it may grow quickly again.
    pub fn restart(&mut self) {
        self.now = 1;
        self.answers = 0;
        self.last_cut = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Answers to as many requests as the limit allows, sent at `at`.
    fn round_trip(limit: &mut Limit, at: Instant) {
        let window = limit.get();
        for _ in 0..window {
            limit.answered(at, true);
        }
    }

    #[test]
    fn it_doubles_halves_once_and_creeps() {
        let start = Instant::now();
        let at = |n| start + Duration::from_secs(n);
        let mut limit = Limit::new(100);
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
        // Answers to what was sent before change nothing either.
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
        let mut limit = Limit::new(0);
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
        let mut limit = Limit::new(64);
        for _ in 0..100 {
            limit.answered(Instant::now(), false);
        }
        assert_eq!(limit.get(), 32);
    }
}
