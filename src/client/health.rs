//! What is known of one endpoint: how much it bears, how often it failed in a row and with whose requests, and when it
//! may be asked again.

use super::balancer::Settings;
use super::failure::Passing;
use super::limit::Limit;
use super::retry::Backoff;
use crate::backend::{EndpointState, EndpointStatus};
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

/// How many first back-offs an endpoint is set aside for at first; each time, twice as long.
const ASIDE: u32 = 60;
/// How often that doubles.
const LONGEST_ASIDE: u32 = 5;
/// So many requests must have failed, and none been answered, before it is the endpoint that is at fault. Two can be the
/// last of a stage, with nobody left beside them who could be answered.
const WITNESSES: usize = 3;

/// One endpoint's share of the work.
pub struct Health {
    settings: Settings,
    limit: Limit,
    in_flight: usize,
    /// When the first request was sent.
    first: Option<Instant>,
    answered: u64,
    retried: u64,
    /// Failures in a row, those of one round-trip counted once.
    strikes: u32,
    last_strike: Option<Instant>,
    /// Whose requests failed since the last answer, but for suspects: those that had failed before while others were
    /// answered. No more than [`WITNESSES`].
    failed: Vec<u64>,
    backoff: Backoff,
    /// Nothing is sent before.
    paused_until: Option<Instant>,
    /// How often in a row it was set aside; 0 while it is not.
    asides: u32,
}

/// What a failure makes of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is asked again.
    Up,
    /// It is set aside for this long, and others go on.
    Aside(Duration),
    /// It is asked again, but not this: so many failures in a row are those of one or two requests, or of suspects.
    Alone(u32),
    /// It failed so many times in a row, and no other is left.
    Gone(u32),
}

/// A request that is under way.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// Tells requests apart.
    pub request: u64,
    /// When it was sent.
    pub time: Instant,
}

impl Health {
    /// Nothing is known yet.
    pub fn new(settings: Settings) -> Self {
        Health {
            settings,
            limit: match settings.slow {
                None => Limit::new(settings.concurrency),
                Some(_) => Limit::creeping(settings.concurrency),
            },
            in_flight: 0,
            first: None,
            answered: 0,
            retried: 0,
            strikes: 0,
            last_strike: None,
            failed: Vec::new(),
            // Two runs at one endpoint must not come back together, so chance decides.
            backoff: Backoff::new(
                settings.backoff,
                std::hash::RandomState::new().build_hasher().finish(),
            ),
            paused_until: None,
            asides: 0,
        }
    }

    /// Requests that were answered.
    pub fn answers(&self) -> u64 {
        self.answered
    }

    /// When the pause ends, if there is one.
    pub fn pause(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|time| *time > now)
    }

    /// When there may be room again, if it is a question of time.
    pub fn opens(&self, now: Instant) -> Option<Instant> {
        self.pause(now).max(self.goes_ahead(now))
    }

    /// Until when the first request goes ahead alone, while it does.
    fn goes_ahead(&self, now: Instant) -> Option<Instant> {
        let end = self.first.filter(|_| self.answered == 0 && self.in_flight > 0)? + self.settings.ahead;
        (end > now).then_some(end)
    }

    /// How many more requests may be sent now.
    pub fn room(&self, now: Instant) -> usize {
        match self.opens(now) {
            Some(_) => 0,
            None => self.limit.get().saturating_sub(self.in_flight),
        }
    }

    /// Whether it failed for good the last time it was asked.
    pub fn is_aside(&self) -> bool {
        self.asides > 0
    }

    /// A request is sent.
    pub fn enter(&mut self, now: Instant) {
        self.first.get_or_insert(now);
        self.in_flight += 1;
    }

    /// A request is over, however it ended.
    pub fn leave(&mut self) {
        self.in_flight -= 1;
    }

    /// How it is doing; `url` is its address.
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

    /// It answered, while others waited for room or not. Returns whether it is back after it had been set aside.
    pub fn answered(&mut self, sent: Sent, is_felt: bool, now: Instant) -> bool {
        self.answered += 1;
        // Long before an answer is given up for its time, fewer at once are the better way to have it.
        match self.settings.slow {
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

    fn forgive(&mut self) {
        self.strikes = 0;
        self.backoff.reset();
    }

    /// It failed. `suspect` says that the request had failed before while others were answered, `has_others` that
    /// another endpoint is there to go on with.
    pub fn failed(
        &mut self,
        sent: Sent,
        failure: &Passing,
        suspect: bool,
        has_others: bool,
        now: Instant,
    ) -> Standing {
        self.retried += 1;
        if failure.is_overload() {
            self.limit.overloaded(sent.time, now);
        }
        if !suspect && self.failed.len() < WITNESSES && !self.failed.contains(&sent.request) {
            self.failed.push(sent.request);
        }
        let mut pause = failure.retry_after;
        let mut standing = Standing::Up;
        // Many failures of one round-trip are one.
        if self.last_strike.is_none_or(|time| sent.time >= time) {
            self.strikes += 1;
            self.last_strike = Some(now);
            let wait = self.backoff.wait();
            if self.strikes > self.settings.retries {
                // An endpoint that is down fails everybody.
                if !failure.is_the_endpoint_s() && self.failed.len() < WITNESSES {
                    let strikes = self.strikes;
                    self.forgive();
                    return Standing::Alone(strikes);
                }
                let time = self.settings.backoff * ASIDE * 2u32.pow(self.asides.min(LONGEST_ASIDE));
                standing = match has_others {
                    true => Standing::Aside(time),
                    false => Standing::Gone(self.strikes),
                };
                // Where none is left the run ends; nobody is to go on asking until it has.
                pause = Some(time);
                self.asides += 1;
                self.limit.restart();
            } else if failure.is_the_endpoint_s() || self.strikes > 1 {
                pause = pause.or(Some(wait));
            }
        }
        if let Some(pause) = pause {
            self.paused_until = self.paused_until.max(Some(now + pause));
        }
        standing
    }
}
