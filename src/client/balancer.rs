//! Which endpoint the next request goes to, and when.

use super::failure::Passing;
use super::health::{Health, Sent, Standing};
use crate::backend::EndpointStatus;
use std::cmp::Reverse;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How requests are spread and failures are counted.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The most requests under way at one endpoint.
    pub concurrency: usize,
    /// An endpoint whose answers take longer is asked for no more at once, one whose answers take twice as long for less.
    pub slow: Option<Duration>,
    /// How long the first request to an endpoint goes ahead alone.
    pub ahead: Duration,
    /// How often in a row an endpoint may fail and be tried again.
    pub retries: u32,
    /// The longest first wait after a failure.
    pub backoff: Duration,
}

/// Hands out the right to ask an endpoint, first come, first served.
pub struct Balancer {
    desks: Mutex<Vec<Health>>,
    /// Held by the one who looks for room; the others wait for it in order.
    turn: tokio::sync::Mutex<()>,
    /// Told when there may be room.
    room: Notify,
    /// How many look for room.
    waiting: AtomicUsize,
}

impl Balancer {
    /// For so many endpoints.
    pub fn new(endpoints: usize, settings: Settings) -> Self {
        Balancer {
            desks: Mutex::new((0..endpoints).map(|_| Health::new(settings)).collect()),
            turn: tokio::sync::Mutex::new(()),
            room: Notify::new(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Waits for an endpoint with room and takes a place there. `request` tells those who ask apart.
    pub async fn slot(&self, request: u64) -> Slot<'_> {
        let _waits = Waits::new(&self.waiting);
        let _turn = self.turn.lock().await;
        loop {
            let time = Instant::now();
            // In a block of its own: the guard must not live across an await.
            let pause = {
                let mut desks = self.lock();
                if let Some(endpoint) = choose(&desks, time) {
                    desks[endpoint].enter(time);
                    return Slot {
                        balancer: self,
                        endpoint,
                        sent: Sent { request, time },
                    };
                }
                desks.iter().filter_map(|desk| desk.opens(time)).min()
            };
            match pause {
                Some(end) => tokio::select! {
                    _ = self.room.notified() => {}
                    _ = tokio::time::sleep_until(end.into()) => {}
                },
                None => self.room.notified().await,
            }
        }
    }

    /// Requests that were answered, by all endpoints.
    pub fn answered(&self) -> u64 {
        self.lock().iter().map(Health::answers).sum()
    }

    /// How each endpoint is doing; `urls` are their addresses.
    pub fn status<'a>(&self, urls: impl Iterator<Item = &'a str>) -> Vec<EndpointStatus> {
        let now = Instant::now();
        let desks = self.lock();
        desks
            .iter()
            .zip(urls)
            .map(|(desk, url)| desk.status(url, now))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Health>> {
        self.desks.lock().expect("no count panicked")
    }
}

/// The endpoint with the most room; the one that answered least among equals. One that was set aside long enough
/// comes first, or it would never be seen that it is back.
fn choose(desks: &[Health], now: Instant) -> Option<usize> {
    let open = (0..desks.len()).filter(|&i| desks[i].room(now) > 0);
    open.max_by_key(|&i| {
        (
            desks[i].is_aside(),
            desks[i].room(now),
            Reverse((desks[i].answers(), i)),
        )
    })
}

/// Counted as long as it lives, however it ends.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Waits(count)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The right to send one request to one endpoint. Dropped, the place is free again.
pub struct Slot<'a> {
    balancer: &'a Balancer,
    endpoint: usize,
    sent: Sent,
}

impl Slot<'_> {
    /// Which endpoint to ask.
    pub fn endpoint(&self) -> usize {
        self.endpoint
    }

    /// The endpoint answered, if only that it will not. Returns whether it is back after it had been set aside.
    pub fn answered(self) -> bool {
        let is_felt = self.balancer.waiting.load(Ordering::Relaxed) > 0;
        self.balancer.lock()[self.endpoint].answered(self.sent, is_felt, Instant::now())
    }

    /// The endpoint failed. `suspect` says that the request had failed before while others were answered.
    pub fn failed(self, failure: &Passing, suspect: bool) -> Standing {
        let mut desks = self.balancer.lock();
        let has_others = (0..desks.len()).any(|i| i != self.endpoint && !desks[i].is_aside());
        desks[self.endpoint].failed(self.sent, failure, suspect, has_others, Instant::now())
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if let Ok(mut desks) = self.balancer.desks.lock() {
            desks[self.endpoint].leave();
        }
        self.balancer.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::EndpointState;
    use crate::client::failure::Kind;
    use futures::FutureExt;

    const BACKOFF: Duration = Duration::from_millis(8);
    /// How long an endpoint is set aside for at first.
    const ASIDE: Duration = BACKOFF.saturating_mul(60);

    fn balancer(endpoints: usize, retries: u32) -> Balancer {
        let settings = Settings {
            concurrency: 4,
            slow: None,
            ahead: Duration::ZERO,
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
    async fn the_first_request_goes_ahead_alone_until_it_is_answered_or_takes_its_time() {
        let settings = Settings {
            concurrency: 4,
            slow: None,
            ahead: Duration::from_millis(40),
            retries: 1,
            backoff: BACKOFF,
        };
        let balancer = Balancer::new(1, settings);
        let start = Instant::now();
        let first = now(&balancer, 0).unwrap();
        assert!(now(&balancer, 1).is_none());
        let second = balancer.slot(1).await;
        assert!(start.elapsed() >= Duration::from_millis(40));
        first.answered();
        second.answered();
        let balancer = Balancer::new(1, settings);
        now(&balancer, 0).unwrap().answered();
        let slots: Vec<_> = (1..5).map(|i| now(&balancer, i).unwrap()).collect();
        assert_eq!(slots.len(), 4);
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
        assert_eq!(first.failed(&unreachable, false), Standing::Aside(ASIDE));
        assert_eq!(status(&balancer)[0].state, EndpointState::Aside);
        second.answered();
        assert!((2..5).all(|i| now(&balancer, i).unwrap().endpoint() == 1));
        tokio::time::sleep(ASIDE).await;
        // Now it comes first, with one request; failing again, it rests twice as long.
        let probe = now(&balancer, 5).unwrap();
        assert_eq!(probe.endpoint(), 0);
        assert_eq!(now(&balancer, 6).unwrap().endpoint(), 1);
        assert_eq!(probe.failed(&unreachable, false), Standing::Aside(ASIDE * 2));
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
        // Nor do two, who may be the last of a stage, or those who had failed before while others were answered.
        assert_eq!(balancer.slot(1).await.failed(&broken, false), Standing::Up);
        assert_eq!(balancer.slot(1).await.failed(&broken, true), Standing::Alone(2));
        assert_eq!(balancer.slot(2).await.failed(&broken, true), Standing::Up);
        assert_eq!(balancer.slot(3).await.failed(&broken, true), Standing::Alone(2));
        // Three do, unless anybody was answered.
        balancer.slot(4).await.answered();
        assert_eq!(balancer.slot(5).await.failed(&broken, false), Standing::Up);
        assert_eq!(balancer.slot(6).await.failed(&broken, false), Standing::Alone(2));
        assert_eq!(balancer.slot(7).await.failed(&broken, false), Standing::Up);
        assert_eq!(balancer.slot(7).await.failed(&broken, false), Standing::Gone(2));
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
