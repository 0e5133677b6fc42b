//! Which endpoint the next request goes to, and when: each has its own adaptive limit, pauses when it asks for one,
//! and is set aside when it fails for good.

use super::failure::Passing;
use super::limit::Limit;
use super::retry::Backoff;
use crate::backend::{EndpointState, EndpointStatus};
use std::hash::{BuildHasher, Hasher};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How many first back-offs an endpoint is set aside for at first; each time, twice as long.
const ASIDE: u32 = 60;
/// How often that doubles.
const LONGEST_ASIDE: u32 = 5;

/// How requests are spread and failures are counted.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The most requests under way at one endpoint.
    pub concurrency: usize,
    /// How often in a row an endpoint may fail and be tried again.
    pub retries: u32,
    /// The first wait after a failure.
    pub backoff: Duration,
}

/// Hands out the right to ask an endpoint, first come, first served.
pub struct Balancer {
    settings: Settings,
    desks: Mutex<Vec<Desk>>,
    /// Held by the one who looks for room; the others wait for it in order.
    turn: tokio::sync::Mutex<()>,
    /// Told when there may be room.
    room: Notify,
}

/// One endpoint's share of the work.
struct Desk {
    limit: Limit,
    in_flight: usize,
    answered: u64,
    retried: u64,
    /// Failures in a row, those of one round-trip counted once.
    strikes: u32,
    last_strike: Option<Instant>,
    /// Who failed since the last answer.
    failed: Failed,
    backoff: Backoff,
    /// Nothing is sent before.
    paused_until: Option<Instant>,
    /// How often in a row it was set aside; 0 while it is not.
    asides: u32,
}

/// Whose requests failed since an endpoint's last answer, but for suspects: those that had failed before while others
/// were answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failed {
    Nobody,
    One(u64),
    Several,
}

/// What a failure makes of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is asked again.
    Up,
    /// It is set aside for this long, and others go on.
    Aside(Duration),
    /// It is asked again, but not this: so many failures in a row are those of one request, or of suspects.
    Alone(u32),
    /// It failed so many times in a row, and no other is left.
    Gone(u32),
}

impl Balancer {
    /// For so many endpoints.
    pub fn new(endpoints: usize, settings: Settings) -> Self {
        let desk = || Desk {
            limit: Limit::new(settings.concurrency),
            in_flight: 0,
            answered: 0,
            retried: 0,
            strikes: 0,
            last_strike: None,
            failed: Failed::Nobody,
            // Two runs at one endpoint must not come back together, so chance decides.
            backoff: Backoff::new(
                settings.backoff,
                std::hash::RandomState::new().build_hasher().finish(),
            ),
            paused_until: None,
            asides: 0,
        };
        Balancer {
            settings,
            desks: Mutex::new((0..endpoints).map(|_| desk()).collect()),
            turn: tokio::sync::Mutex::new(()),
            room: Notify::new(),
        }
    }

    /// Waits for an endpoint with room and takes a place there. `request` tells those who ask apart.
    pub async fn slot(&self, request: u64) -> Slot<'_> {
        let _turn = self.turn.lock().await;
        loop {
            let now = Instant::now();
            // In a block of its own: the guard must not live across an await.
            let wake = {
                let mut desks = self.lock();
                match choose(&desks, now) {
                    Ok(endpoint) => {
                        desks[endpoint].in_flight += 1;
                        return Slot {
                            balancer: self,
                            endpoint,
                            request,
                            sent: now,
                        };
                    }
                    Err(wake) => wake,
                }
            };
            match wake {
                Some(time) => tokio::select! {
                    _ = self.room.notified() => {}
                    _ = tokio::time::sleep_until(time.into()) => {}
                },
                None => self.room.notified().await,
            }
        }
    }

    /// Requests that were answered, by all endpoints.
    pub fn answered(&self) -> u64 {
        self.lock().iter().map(|desk| desk.answered).sum()
    }

    /// How each endpoint is doing; `urls` are their addresses.
    pub fn status<'a>(&self, urls: impl Iterator<Item = &'a str>) -> Vec<EndpointStatus> {
        let now = Instant::now();
        let desks = self.lock();
        let status = |(desk, url): (&Desk, &str)| EndpointStatus {
            url: url.to_string(),
            state: match desk.asides {
                0 if desk.is_paused(now) => EndpointState::Paused,
                0 => EndpointState::Up,
                _ => EndpointState::Aside,
            },
            in_flight: desk.in_flight,
            limit: desk.limit.get(),
            answered: desk.answered,
            retried: desk.retried,
        };
        desks.iter().zip(urls).map(status).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Desk>> {
        self.desks.lock().expect("no count panicked")
    }
}

impl Desk {
    fn forgive(&mut self) {
        self.strikes = 0;
        self.failed = Failed::Nobody;
        self.backoff.reset();
    }

    fn is_paused(&self, now: Instant) -> bool {
        self.paused_until.is_some_and(|time| time > now)
    }

    fn room(&self) -> usize {
        self.limit.get().saturating_sub(self.in_flight)
    }
}

/// The endpoint with the most room; the one that answered least among equals. One that was set aside long enough
/// comes first, or it would never be seen that it is back. Where none has room, when the first pause ends.
fn choose(desks: &[Desk], now: Instant) -> Result<usize, Option<Instant>> {
    let open = |(_, desk): &(usize, &Desk)| desk.room() > 0 && !desk.is_paused(now);
    desks
        .iter()
        .enumerate()
        .filter(open)
        .max_by_key(|(i, desk)| {
            (
                desk.asides > 0,
                desk.room(),
                std::cmp::Reverse((desk.answered, *i)),
            )
        })
        .map(|(endpoint, _)| endpoint)
        .ok_or_else(|| {
            let paused = desks.iter().filter(|desk| desk.is_paused(now));
            paused.filter_map(|desk| desk.paused_until).min()
        })
}

/// The right to send one request to one endpoint. Dropped, the place is free again.
pub struct Slot<'a> {
    balancer: &'a Balancer,
    endpoint: usize,
    request: u64,
    sent: Instant,
}

impl Slot<'_> {
    /// Which endpoint to ask.
    pub fn endpoint(&self) -> usize {
        self.endpoint
    }

    /// The endpoint answered, if only that it will not. Returns whether it is back after it had been set aside.
    pub fn answered(self) -> bool {
        let mut desks = self.balancer.lock();
        let desk = &mut desks[self.endpoint];
        desk.answered += 1;
        desk.limit.answered(self.sent, desk.in_flight);
        desk.forgive();
        let is_back = std::mem::take(&mut desk.asides) > 0;
        if is_back {
            desk.paused_until = None;
        }
        is_back
    }

    /// The endpoint failed. `suspect` says that the request had failed before while others were answered.
    pub fn failed(self, failure: &Passing, suspect: bool) -> Standing {
        let now = Instant::now();
        let mut desks = self.balancer.lock();
        let others = (0..desks.len()).any(|i| i != self.endpoint && desks[i].asides == 0);
        let desk = &mut desks[self.endpoint];
        desk.retried += 1;
        if failure.is_overload() {
            desk.limit.overloaded(self.sent, now);
        }
        desk.failed = match desk.failed {
            failed if suspect => failed,
            Failed::Nobody => Failed::One(self.request),
            Failed::One(request) if request == self.request => desk.failed,
            _ => Failed::Several,
        };
        let mut pause = failure.retry_after;
        let mut standing = Standing::Up;
        // Many failures of one round-trip are one.
        if desk.last_strike.is_none_or(|time| self.sent >= time) {
            desk.strikes += 1;
            desk.last_strike = Some(now);
            let wait = desk.backoff.wait();
            if desk.strikes > self.balancer.settings.retries {
                // An endpoint that is down fails everybody.
                if !failure.is_the_endpoint_s() && desk.failed != Failed::Several {
                    let strikes = desk.strikes;
                    desk.forgive();
                    return Standing::Alone(strikes);
                }
                if !others {
                    return Standing::Gone(desk.strikes);
                }
                let time = self.balancer.settings.backoff * ASIDE * 2u32.pow(desk.asides.min(LONGEST_ASIDE));
                desk.asides += 1;
                desk.limit.restart();
                pause = Some(time);
                standing = Standing::Aside(time);
            } else if failure.is_the_endpoint_s() || desk.strikes > 1 {
                pause = pause.or(Some(wait));
            }
        }
        if let Some(pause) = pause {
            desk.paused_until = desk.paused_until.max(Some(now + pause));
        }
        standing
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if let Ok(mut desks) = self.balancer.desks.lock() {
            desks[self.endpoint].in_flight -= 1;
        }
        self.balancer.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::failure::Kind;
    use futures::FutureExt;

    const BACKOFF: Duration = Duration::from_millis(8);

    fn balancer(endpoints: usize, retries: u32) -> Balancer {
        let settings = Settings {
            concurrency: 4,
            retries,
            backoff: BACKOFF,
        };
        Balancer::new(endpoints, settings)
    }

    fn failure(kind: Kind) -> Passing {
        Passing::new(kind, "it failed".to_string())
    }

    /// A place that is free now.
    fn now(balancer: &Balancer, request: u64) -> Option<Slot<'_>> {
        balancer.slot(request).now_or_never()
    }

    fn status(balancer: &Balancer) -> Vec<EndpointStatus> {
        balancer.status(["a", "b"].into_iter())
    }

    #[tokio::test]
    async fn work_goes_where_room_is_and_a_dropped_request_frees_its_place() {
        let balancer = balancer(2, 1);
        let slots: Vec<_> = (0..8).map(|i| now(&balancer, i).unwrap()).collect();
        assert_eq!(slots.iter().filter(|slot| slot.endpoint() == 0).count(), 4);
        assert!(now(&balancer, 8).is_none());
        assert_eq!(status(&balancer)[1].in_flight, 4);
        drop(slots);
        assert_eq!(status(&balancer)[1].in_flight, 0);
        // Between equals, the one that has done less.
        now(&balancer, 9).unwrap().answered();
        assert_eq!(now(&balancer, 10).unwrap().endpoint(), 1);
    }

    #[tokio::test]
    async fn a_pause_that_was_asked_for_holds_for_everybody() {
        let balancer = balancer(1, 3);
        let busy = Passing {
            retry_after: Some(Duration::from_millis(60)),
            ..failure(Kind::Busy)
        };
        let start = Instant::now();
        assert_eq!(now(&balancer, 0).unwrap().failed(&busy, false), Standing::Up);
        assert_eq!(status(&balancer)[0].state, EndpointState::Paused);
        assert!(now(&balancer, 1).is_none());
        balancer.slot(2).await.answered();
        assert!(start.elapsed() >= Duration::from_millis(60));
        assert_eq!(status(&balancer)[0].state, EndpointState::Up);
    }

    #[tokio::test]
    async fn who_fails_for_good_is_set_aside_and_tried_again() {
        let balancer = balancer(2, 0);
        let unreachable = failure(Kind::Unreachable);
        let first = now(&balancer, 0).unwrap();
        let second = now(&balancer, 1).unwrap();
        assert_eq!((first.endpoint(), second.endpoint()), (0, 1));
        assert_eq!(
            first.failed(&unreachable, false),
            Standing::Aside(BACKOFF * ASIDE)
        );
        assert_eq!(status(&balancer)[0].state, EndpointState::Aside);
        second.answered();
        assert!((2..5).all(|i| now(&balancer, i).unwrap().endpoint() == 1));
        tokio::time::sleep(BACKOFF * ASIDE).await;
        // Now it comes first, with one request; failing again, it rests twice as long.
        let probe = now(&balancer, 5).unwrap();
        assert_eq!(probe.endpoint(), 0);
        assert_eq!(now(&balancer, 6).unwrap().endpoint(), 1);
        assert_eq!(
            probe.failed(&unreachable, false),
            Standing::Aside(BACKOFF * ASIDE * 2)
        );
        // And when the other one goes too, none is left.
        let last = now(&balancer, 7).unwrap();
        assert_eq!(last.failed(&unreachable, false), Standing::Gone(1));
    }

    #[tokio::test]
    async fn one_who_fails_alone_does_not_condemn_the_endpoint() {
        let broken = failure(Kind::Broken);
        let balancer = balancer(1, 1);
        assert_eq!(balancer.slot(0).await.failed(&broken, false), Standing::Up);
        assert_eq!(balancer.slot(0).await.failed(&broken, false), Standing::Alone(2));
        // Two who fail do, unless both had failed before while others were answered.
        assert_eq!(balancer.slot(1).await.failed(&broken, true), Standing::Up);
        assert_eq!(balancer.slot(2).await.failed(&broken, true), Standing::Alone(2));
        assert_eq!(balancer.slot(3).await.failed(&broken, false), Standing::Up);
        assert_eq!(balancer.slot(4).await.failed(&broken, false), Standing::Gone(2));
    }

    #[tokio::test]
    async fn failures_of_one_round_trip_are_one() {
        let balancer = balancer(1, 1);
        let broken = failure(Kind::Broken);
        let slots: Vec<_> = (0..4).map(|i| now(&balancer, i).unwrap()).collect();
        for slot in slots {
            assert_eq!(slot.failed(&broken, false), Standing::Up);
        }
        assert_eq!(status(&balancer)[0].limit, 2);
        assert_eq!(status(&balancer)[0].retried, 4);
    }
}
