//! Decides which endpoint gets the next request, and when.

use super::failure::TransientFailure;
use super::health::{Health, SentRequest, Standing};
use super::limit::EndpointLimits;
use crate::backend::EndpointStatus;
use std::cmp::Reverse;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;
use tokio::sync::Notify;

/// Assigns requests to endpoints, first come, first served.
pub struct Balancer {
    endpoints: Mutex<Vec<Health>>,
    /// Held by the request that looks for room. The others wait for it in order.
    queue: tokio::sync::Mutex<()>,
    /// Notified when there may be room.
    room: Notify,
    /// How many requests look for room.
    waiting: AtomicUsize,
}

impl Balancer {
    /// Starts with this many endpoints.
    pub fn new(endpoints: usize, limits: EndpointLimits) -> Self {
        Balancer {
            endpoints: Mutex::new((0..endpoints).map(|_| Health::new(limits)).collect()),
            queue: tokio::sync::Mutex::new(()),
            room: Notify::new(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// WaitCount for an endpoint with room and takes a slot there. `request` is the number of the
    /// request.
    pub async fn slot(&self, request: u64) -> Slot<'_> {
        let _waits = WaitCount::new(&self.waiting);
        let _queue = self.queue.lock().await;
        loop {
            let time = Instant::now();
            // In a block, since the guard must not be held across an await.
            let pause = {
                let mut endpoints = self.lock();
                if let Some(endpoint) = choose(&endpoints, time) {
                    endpoints[endpoint].enter(time);
                    return Slot {
                        balancer: self,
                        endpoint,
                        sent: SentRequest { request, time },
                    };
                }
                endpoints.iter().filter_map(|health| health.opens(time)).min()
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

    /// Returns how many requests were answered, by all endpoints together.
    pub fn answered(&self) -> u64 {
        self.lock().iter().map(Health::answers).sum()
    }

    /// Returns the state of each endpoint. `urls` are their addresses.
    pub fn status<'a>(&self, urls: impl Iterator<Item = &'a str>) -> Vec<EndpointStatus> {
        let now = Instant::now();
        let endpoints = self.lock();
        endpoints
            .iter()
            .zip(urls)
            .map(|(health, url)| health.status(url, now))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Health>> {
        self.endpoints.lock().expect("no count panicked")
    }
}

/// Returns the endpoint with the fewest requests in flight of those that have room ("least
/// connections"), and among equals the one with the fewest answers. The most room would be a poor
/// measure: limits grow with answers, so whoever had more answers would get still more. One that
/// was set aside long enough comes first: otherwise it would never be noticed that it is back.
fn choose(endpoints: &[Health], now: Instant) -> Option<usize> {
    let open = (0..endpoints.len()).filter(|&i| endpoints[i].room(now) > 0);
    open.max_by_key(|&i| {
        (
            endpoints[i].is_aside(),
            Reverse((endpoints[i].in_flight(), endpoints[i].answers(), i)),
        )
    })
}

/// Counts a waiting request until it is dropped, also when its future is.
struct WaitCount<'a>(&'a AtomicUsize);

impl<'a> WaitCount<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        WaitCount(count)
    }
}

impl Drop for WaitCount<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The right to send one request to one endpoint. Dropping it frees the slot.
pub struct Slot<'a> {
    balancer: &'a Balancer,
    endpoint: usize,
    sent: SentRequest,
}

impl Slot<'_> {
    /// Returns the endpoint to send to.
    pub fn endpoint(&self) -> usize {
        self.endpoint
    }

    /// Notes that the endpoint answered, even if only with a refusal. Returns whether it was set
    /// aside before.
    pub fn answered(self) -> bool {
        let is_felt = self.balancer.waiting.load(Ordering::Relaxed) > 0;
        self.balancer.lock()[self.endpoint].answered(self.sent, is_felt, Instant::now())
    }

    /// Notes that the endpoint failed. `suspect`: this request failed before, while others were
    /// answered.
    pub fn failed(self, failure: &TransientFailure, suspect: bool) -> Standing {
        let mut endpoints = self.balancer.lock();
        let has_others = (0..endpoints.len()).any(|i| i != self.endpoint && !endpoints[i].is_aside());
        endpoints[self.endpoint].failed(self.sent, failure, suspect, has_others, Instant::now())
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if let Ok(mut endpoints) = self.balancer.endpoints.lock() {
            endpoints[self.endpoint].leave();
        }
        self.balancer.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::EndpointState;
    use crate::client::failure::FailureKind;
    use futures::FutureExt;
    use std::time::Duration;

    const BACKOFF: Duration = Duration::from_millis(40);
    /// Long enough that a busy machine comes to look before it is over.
    const MOMENT: Duration = Duration::from_secs(2);
    /// How long an endpoint is set aside the first time.
    const ASIDE: Duration = BACKOFF.saturating_mul(60);

    fn balancer(endpoints: usize, retries: u32) -> Balancer {
        let limits = EndpointLimits {
            concurrency: 4,
            slow: None,
            ahead: Duration::ZERO,
            retries,
            backoff: BACKOFF,
        };
        Balancer::new(endpoints, limits)
    }

    fn failure(kind: FailureKind) -> TransientFailure {
        TransientFailure::new(kind, "it failed".to_string())
    }

    /// Takes a slot that is free now.
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
        // Among equals, the endpoint with fewer answers.
        now(&balancer, 9).unwrap().answered();
        assert_eq!(now(&balancer, 10).unwrap().endpoint(), 1);
    }

    #[tokio::test]
    async fn an_endpoint_whose_limit_has_grown_gets_no_more_work_than_another() {
        let limits = EndpointLimits {
            concurrency: 64,
            slow: Some(Duration::from_secs(1)),
            ahead: Duration::ZERO,
            retries: 1,
            backoff: BACKOFF,
        };
        let balancer = Balancer::new(2, limits);
        // Others wait, so each of these answers raises the limit of the first endpoint.
        let others = WaitCount::new(&balancer.waiting);
        for _ in 0..20 {
            balancer.lock()[0].enter(Instant::now());
            let slot = Slot {
                balancer: &balancer,
                endpoint: 0,
                sent: SentRequest {
                    request: 0,
                    time: Instant::now(),
                },
            };
            slot.answered();
        }
        drop(others);
        assert!(status(&balancer)[0].limit > status(&balancer)[1].limit + 10);
        let slots: Vec<_> = (0..12).map(|i| now(&balancer, i).unwrap()).collect();
        assert_eq!(slots.iter().filter(|slot| slot.endpoint() == 0).count(), 6);
    }

    #[tokio::test]
    async fn the_first_request_goes_ahead_alone_until_it_is_answered_or_takes_its_time() {
        let limits = EndpointLimits {
            concurrency: 4,
            slow: None,
            ahead: MOMENT,
            retries: 1,
            backoff: BACKOFF,
        };
        let balancer = Balancer::new(1, limits);
        let start = Instant::now();
        let first = now(&balancer, 0).unwrap();
        assert!(now(&balancer, 1).is_none());
        let second = balancer.slot(1).await;
        assert!(start.elapsed() >= MOMENT);
        first.answered();
        second.answered();
        let balancer = Balancer::new(1, limits);
        now(&balancer, 0).unwrap().answered();
        let slots: Vec<_> = (1..5).map(|i| now(&balancer, i).unwrap()).collect();
        assert_eq!(slots.len(), 4);
    }

    #[tokio::test]
    async fn a_pause_that_was_asked_for_holds_for_everybody() {
        let balancer = balancer(1, 3);
        let busy = TransientFailure {
            retry_after: Some(MOMENT),
            ..failure(FailureKind::Busy)
        };
        let start = Instant::now();
        assert_eq!(now(&balancer, 0).unwrap().failed(&busy, false), Standing::Up);
        assert_eq!(status(&balancer)[0].state, EndpointState::Paused);
        assert!(now(&balancer, 1).is_none());
        balancer.slot(2).await.answered();
        assert!(start.elapsed() >= MOMENT);
        assert_eq!(status(&balancer)[0].state, EndpointState::Up);
    }

    #[tokio::test]
    async fn who_fails_for_good_is_set_aside_and_tried_again() {
        let balancer = balancer(2, 0);
        let unreachable = failure(FailureKind::Unreachable);
        let first = now(&balancer, 0).unwrap();
        let second = now(&balancer, 1).unwrap();
        assert_eq!((first.endpoint(), second.endpoint()), (0, 1));
        assert_eq!(first.failed(&unreachable, false), Standing::Aside(ASIDE));
        assert_eq!(status(&balancer)[0].state, EndpointState::Aside);
        second.answered();
        assert!((2..5).all(|i| now(&balancer, i).unwrap().endpoint() == 1));
        tokio::time::sleep(ASIDE).await;
        // Now it comes first, with one request. When it fails again, it is set aside twice as long.
        let probe = now(&balancer, 5).unwrap();
        assert_eq!(probe.endpoint(), 0);
        assert_eq!(now(&balancer, 6).unwrap().endpoint(), 1);
        assert_eq!(probe.failed(&unreachable, false), Standing::Aside(ASIDE * 2));
        // When the other one fails, too, none is left.
        let last = now(&balancer, 7).unwrap();
        assert_eq!(last.failed(&unreachable, false), Standing::Gone(1));
    }

    #[tokio::test]
    async fn one_who_fails_alone_does_not_condemn_the_endpoint() {
        let broken = failure(FailureKind::Broken);
        let balancer = balancer(1, 1);
        assert_eq!(balancer.slot(0).await.failed(&broken, false), Standing::Up);
        assert_eq!(balancer.slot(0).await.failed(&broken, false), Standing::Alone(2));
        // Nor do two requests, which may be the last of a stage, or those that failed before while
        // others were answered.
        assert_eq!(balancer.slot(1).await.failed(&broken, false), Standing::Up);
        assert_eq!(balancer.slot(1).await.failed(&broken, true), Standing::Alone(2));
        assert_eq!(balancer.slot(2).await.failed(&broken, true), Standing::Up);
        assert_eq!(balancer.slot(3).await.failed(&broken, true), Standing::Alone(2));
        // Three do, unless any request was answered.
        balancer.slot(4).await.answered();
        assert_eq!(balancer.slot(5).await.failed(&broken, false), Standing::Up);
        assert_eq!(balancer.slot(6).await.failed(&broken, false), Standing::Alone(2));
        assert_eq!(balancer.slot(7).await.failed(&broken, false), Standing::Up);
        assert_eq!(balancer.slot(7).await.failed(&broken, false), Standing::Gone(2));
    }

    #[tokio::test]
    async fn failures_of_one_round_trip_are_one() {
        let balancer = balancer(1, 1);
        let broken = failure(FailureKind::Broken);
        let slots: Vec<_> = (0..4).map(|i| now(&balancer, i).unwrap()).collect();
        for slot in slots {
            assert_eq!(slot.failed(&broken, false), Standing::Up);
        }
        assert_eq!(status(&balancer)[0].limit, 2);
        assert_eq!(status(&balancer)[0].retried, 4);
    }
}
