//! The health of one endpoint: its limit of requests in flight, its recent failures, and when it
//! may be tried again.

use super::failure::{FailureKind, TransientFailure};
use super::limit::{ConcurrencyLimit, EndpointLimits};
use super::retry::Backoff;
use crate::backend::{EndpointState, EndpointStatus};
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

/// How long an endpoint is set aside the first time, in first backoffs. Each further time is twice
/// as long.
const ASIDE: u32 = 60;
/// How often that time doubles.
const LONGEST_ASIDE: u32 = 5;
/// How many requests must fail, without any answer in between, before the endpoint is to blame. Two
/// may be the last requests of a stage, with no other left that could be answered.
const WITNESSES: usize = 3;

/// Answers that take no longer are equally quick: on a busy machine the difference is chance.
const QUICK: Duration = Duration::from_secs(1);
/// A slow endpoint that has had nothing to do for so long may be quick by now.
const STALE: Duration = Duration::from_secs(10);

/// The health of one endpoint.
pub struct Health {
    limits: EndpointLimits,
    limit: ConcurrencyLimit,
    in_flight: usize,
    /// The time of the first request.
    first: Option<Instant>,
    answered: u64,
    /// How long answers took lately: a moving average.
    latency: Duration,
    last_answer: Option<Instant>,
    retried: u64,
    /// Failures in a row. All failures of one round trip count once.
    strikes: u32,
    last_strike: Option<Instant>,
    /// Requests that failed since the last answer, without suspects: those that failed before while
    /// others were answered. At most [`WITNESSES`].
    failed: Vec<u64>,
    backoff: Backoff,
    /// Nothing is sent before this time.
    paused_until: Option<Instant>,
    /// How often in a row it was set aside; 0 if it is not.
    asides: u32,
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The endpoint is tried again.
    Up,
    /// The endpoint is set aside for this long, and others go on.
    Aside(Duration),
    /// The endpoint is tried again, but not with this request: this many failures in a row are
    /// those of one or two requests, or of suspects.
    Alone(u32),
    /// The endpoint failed this many times in a row, and no other is left.
    Gone(u32),
}

/// A request in flight.
#[derive(Debug, Clone, Copy)]
pub struct SentRequest {
    /// The number of the request.
    pub request: u64,
    /// When it was sent.
    pub time: Instant,
}

impl Health {
    /// Starts without any knowledge of the endpoint.
    pub fn new(limits: EndpointLimits) -> Self {
        Health {
            limits,
            limit: match limits.slow {
                None => ConcurrencyLimit::new(limits.concurrency),
                Some(_) => ConcurrencyLimit::creeping(limits.concurrency),
            },
            in_flight: 0,
            first: None,
            answered: 0,
            latency: Duration::ZERO,
            last_answer: None,
            retried: 0,
            strikes: 0,
            last_strike: None,
            failed: Vec::new(),
            // Random, so that two runs at one endpoint do not try again at the same time.
            backoff: Backoff::new(
                limits.backoff,
                std::hash::RandomState::new().build_hasher().finish(),
            ),
            paused_until: None,
            asides: 0,
        }
    }

    /// Returns how many requests were answered.
    pub fn answers(&self) -> u64 {
        self.answered
    }

    /// Returns how many requests are in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Sets another bound for its requests in flight.
    pub fn set_concurrency(&mut self, concurrency: usize) {
        self.limits.concurrency = concurrency;
        self.limit.set_most(concurrency);
    }

    /// Returns how long answers took lately; `None` before the first.
    pub fn latency(&self) -> Option<Duration> {
        self.last_answer.map(|_| self.latency)
    }

    /// Notes that nobody waited for an answer to a request sent at `sent` any longer.
    pub fn overtaken(&mut self, sent: Instant, now: Instant) {
        self.took(now - sent, now);
    }

    /// Counts a time in the moving average.
    fn took(&mut self, latency: Duration, now: Instant) {
        self.latency = match self.last_answer {
            Some(_) => (self.latency * 3 + latency) / 4,
            None => latency,
        };
        self.last_answer = Some(now);
    }

    /// Returns how slow it is: 1 for quick answers, and 2, 4, 8 … for those that take as many times
    /// as long. An endpoint that has not answered yet is as slow as its first request is late.
    pub fn slowness(&self, now: Instant) -> u64 {
        let latency = match (self.last_answer, self.first) {
            (Some(last), _) if self.in_flight == 0 && now - last > STALE => Duration::ZERO,
            (Some(_), _) => self.latency,
            (None, Some(first)) if self.in_flight > 0 => now - first,
            (None, _) => Duration::ZERO,
        };
        (latency.as_secs() / QUICK.as_secs() + 1).next_power_of_two()
    }

    /// Returns when the pause ends, if there is one.
    pub fn pause(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|time| *time > now)
    }

    /// Returns when there may be room again, if that depends on time only.
    pub fn opens(&self, now: Instant) -> Option<Instant> {
        self.pause(now).max(self.goes_ahead(now))
    }

    /// Returns until when the first request goes ahead alone, if it still does.
    fn goes_ahead(&self, now: Instant) -> Option<Instant> {
        let end = self.first.filter(|_| self.answered == 0 && self.in_flight > 0)? + self.limits.ahead;
        (end > now).then_some(end)
    }

    /// Returns how many more requests may be sent now.
    pub fn room(&self, now: Instant) -> usize {
        match self.opens(now) {
            Some(_) => 0,
            None => self.limit.get().saturating_sub(self.in_flight),
        }
    }

    /// Whether the endpoint is set aside.
    pub fn is_aside(&self) -> bool {
        self.asides > 0
    }

    /// Notes that a request is sent.
    pub fn enter(&mut self, now: Instant) {
        self.first.get_or_insert(now);
        self.in_flight += 1;
    }

    /// Notes that a request is over, with or without success.
    pub fn leave(&mut self) {
        self.in_flight -= 1;
    }

    /// Returns the state of the endpoint. `url` is its address.
    pub fn status(&self, url: &str, now: Instant) -> EndpointStatus {
        EndpointStatus {
            url: url.to_string(),
            state: match self.pause(now) {
                _ if self.is_aside() => EndpointState::Aside,
                Some(_) => EndpointState::Paused,
                None => EndpointState::Up,
            },
            in_flight: self.in_flight,
            limit: self.limit.get(),
            answered: self.answered,
            retried: self.retried,
        }
    }

    /// Notes an answer. `is_felt`: other requests waited for room. Returns whether the endpoint was
    /// set aside before.
    pub fn answered(&mut self, sent: SentRequest, is_felt: bool, now: Instant) -> bool {
        self.answered += 1;
        self.took(now - sent.time, now);
        // Fewer requests at once are better than waiting until answers time out.
        match self.limits.slow {
            Some(slow) if now - sent.time > slow * 2 => self.limit.overloaded(sent.time, now),
            Some(slow) if now - sent.time > slow => {}
            _ => self.limit.answered(sent.time, is_felt),
        }
        self.forgive();
        self.failed.clear();
        let is_back = std::mem::take(&mut self.asides) > 0;
        if is_back {
            self.paused_until = None;
        }
        is_back
    }

    /// Forgets the failures in a row.
    fn forgive(&mut self) {
        self.strikes = 0;
        self.backoff.reset();
    }

    /// Notes a failure. `suspect`: this request failed before, while others were answered.
    /// `has_others`: the run can go on at another endpoint.
    pub fn failed(
        &mut self,
        sent: SentRequest,
        failure: &TransientFailure,
        suspect: bool,
        has_others: bool,
        now: Instant,
    ) -> Standing {
        self.retried += 1;
        if failure.kind == FailureKind::Busy && failure.retry_after.is_none() {
            // It works at as many as it bears, and this was one more: no reason for a pause.
            if self.limit.refused(sent.time, self.in_flight, now) {
                return Standing::Up;
            }
        } else if failure.is_overload() && !self.is_alone(failure) {
            self.limit.overloaded(sent.time, now);
        }
        if !suspect && self.failed.len() < WITNESSES && !self.failed.contains(&sent.request) {
            self.failed.push(sent.request);
        }
        let mut pause = failure.retry_after;
        let mut standing = Standing::Up;
        // All failures of one round trip count once.
        if self.last_strike.is_none_or(|time| sent.time >= time) {
            self.strikes += 1;
            self.last_strike = Some(now);
            let wait = self.backoff.wait();
            if self.strikes > self.limits.retries {
                // An endpoint that is down fails all requests.
                if !failure.is_the_endpoint_s() && self.failed.len() < WITNESSES {
                    let strikes = self.strikes;
                    self.forgive();
                    return Standing::Alone(strikes);
                }
                // If none is left, the run ends; until then nothing more is sent.
                let time = self.set_aside(now);
                standing = match has_others {
                    true => Standing::Aside(time),
                    false => Standing::Gone(self.strikes),
                };
            } else if failure.is_the_endpoint_s() || self.strikes > 1 {
                pause = pause.or(Some(wait));
            }
        }
        if let Some(pause) = pause {
            self.paused_until = self.paused_until.max(Some(now + pause));
        }
        standing
    }

    /// Whether a failure is one among answers, which says more about its request than about how
    /// much the endpoint bears.
    fn is_alone(&self, failure: &TransientFailure) -> bool {
        failure.kind == FailureKind::Broken && self.strikes == 0 && self.answered > 0
    }

    /// Sets it aside. Returns for how long: each time in a row twice as long.
    pub fn set_aside(&mut self, now: Instant) -> Duration {
        let time = self.limits.backoff * ASIDE * 2u32.pow(self.asides.min(LONGEST_ASIDE));
        self.paused_until = self.paused_until.max(Some(now + time));
        self.asides += 1;
        self.limit.restart();
        time
    }
}
