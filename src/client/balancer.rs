//! Decides which endpoint gets the next request, and when.

use super::failure::TransientFailure;
use super::health::{Health, SentRequest, Standing};
use super::limit::EndpointLimits;
use crate::backend::EndpointStatus;
use std::cmp::Reverse;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The most requests in flight at all endpoints together. Ten thousand take some hundred megabytes:
/// prompts, responses, and what a connection needs.
const MOST_TOGETHER: usize = 10_000;

/// A request that takes this much longer than is usual is sent elsewhere, too, where nobody else
/// needs the room.
const LATE: Duration = Duration::from_secs(10);
/// How many times as long as usual it may take before.
const USUAL: u32 = 3;
/// How often a late request looks for room elsewhere.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Assigns requests to endpoints, first come, first served.
pub struct Balancer {
    members: Mutex<Vec<Member>>,
    limits: EndpointLimits,
    /// The most requests in flight together.
    most: usize,
    /// Held by the request that looks for room. The others wait for it in order.
    queue: tokio::sync::Mutex<()>,
    /// Notified when there may be room.
    room: Notify,
    /// How many requests look for room.
    waiting: AtomicUsize,
    /// How many requests were answered, also by endpoints that are not there any more.
    answered: AtomicU64,
}

/// An endpoint, and its part of the requests.
struct Member {
    health: Health,
    /// How many requests it gets for each one of an endpoint with weight 1.
    weight: u32,
    /// It gets no new requests; those in flight are awaited.
    is_retired: bool,
}

/// What an endpoint may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// How many requests for each one of an endpoint with weight 1.
    pub weight: u32,
    /// The most requests in flight; `None` for the limit of all.
    pub limit: Option<usize>,
}

impl Default for Share {
    fn default() -> Share {
        Share {
            weight: 1,
            limit: None,
        }
    }
}

impl Member {
    fn new(mut limits: EndpointLimits, share: Share) -> Member {
        limits.concurrency = share.limit.unwrap_or(limits.concurrency);
        Member {
            health: Health::new(limits),
            weight: share.weight,
            is_retired: false,
        }
    }

    /// Whether it is one of those that answer.
    fn is_there(&self) -> bool {
        !self.is_retired && !self.health.is_aside()
    }

    /// Whether it is gone for good, with nothing in flight.
    fn is_vacant(&self) -> bool {
        self.is_retired && self.health.in_flight() == 0
    }
}

/// Returns the most requests in flight together: each needs a connection, and so a file descriptor.
/// Some are left for everything else.
fn most_together() -> usize {
    const OTHERS: u64 = 200;
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = files.map_or(MOST_TOGETHER as u64, |files| files.saturating_sub(OTHERS).max(32));
    MOST_TOGETHER.min(usize::try_from(files).unwrap_or(MOST_TOGETHER))
}

impl Balancer {
    /// Starts with this many endpoints.
    pub fn new(endpoints: usize, limits: EndpointLimits) -> Self {
        let members = (0..endpoints).map(|_| Member::new(limits, Share::default()));
        Balancer {
            members: Mutex::new(members.collect()),
            limits,
            most: most_together(),
            queue: tokio::sync::Mutex::new(()),
            room: Notify::new(),
            waiting: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
        }
    }

    /// Returns how many requests make sense at once, with so many endpoints.
    pub fn capacity(&self, endpoints: usize) -> usize {
        let most = self.limits.concurrency.max(1).saturating_mul(endpoints);
        most.min(self.most)
    }

    /// Returns the place of an endpoint that is new: one that another has left, or the next.
    pub fn vacancy(&self) -> usize {
        let members = self.lock();
        let vacant = members.iter().position(Member::is_vacant);
        vacant.unwrap_or(members.len())
    }

    /// Lets a new endpoint take part, at a place from [`Balancer::vacancy`].
    pub fn join(&self, place: usize, share: Share) {
        let mut members = self.lock();
        let member = Member::new(self.limits, share);
        match members.get_mut(place) {
            Some(vacant) => *vacant = member,
            None => members.push(member),
        }
        self.room.notify_one();
    }

    /// Changes what an endpoint may get. One that was retired is back.
    pub fn adjust(&self, place: usize, share: Share) {
        let mut members = self.lock();
        let member = &mut members[place];
        member.weight = share.weight;
        member.is_retired = false;
        let most = share.limit.unwrap_or(self.limits.concurrency);
        member.health.set_concurrency(most);
        self.room.notify_one();
    }

    /// Sends nothing new to an endpoint.
    pub fn retire(&self, place: usize) {
        self.lock()[place].is_retired = true;
    }

    /// Whether an endpoint is retired.
    pub fn is_retired(&self, place: usize) -> bool {
        self.lock()[place].is_retired
    }

    /// Waits for an endpoint with room and takes a slot there. `request` is the number of the
    /// request.
    pub async fn slot(&self, request: u64) -> Slot<'_> {
        let _waits = WaitCount::new(&self.waiting);
        let _queue = self.queue.lock().await;
        loop {
            let time = Instant::now();
            // In a block, since the guard must not be held across an await.
            let pause = {
                let mut members = self.lock();
                if let Some(endpoint) = choose(&members, self.most, None, time) {
                    members[endpoint].health.enter(time);
                    return Slot {
                        balancer: self,
                        endpoint,
                        sent: SentRequest { request, time },
                    };
                }
                let there = members.iter().filter(|member| !member.is_retired);
                there.filter_map(|member| member.health.opens(time)).min()
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

    /// Waits until the request of a slot is late, and another endpoint has room that no other
    /// request waits for. Takes a slot there.
    pub async fn overtaker(&self, slow: &Slot<'_>) -> Slot<'_> {
        tokio::time::sleep(LATE).await;
        loop {
            let time = Instant::now();
            if self.waiting.load(Ordering::Relaxed) == 0 {
                let mut members = self.lock();
                if let Some(endpoint) = overtaker(&members, self.most, slow.endpoint, slow.sent.time, time) {
                    members[endpoint].health.enter(time);
                    let request = slow.sent.request;
                    return Slot {
                        balancer: self,
                        endpoint,
                        sent: SentRequest { request, time },
                    };
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Returns how many requests were answered, by all endpoints together.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Returns the state of each endpoint that is there, or still has requests in flight. `urls`
    /// are the addresses by place.
    pub fn status<'a>(&self, urls: impl Iterator<Item = &'a str>) -> Vec<EndpointStatus> {
        let now = Instant::now();
        let members = self.lock();
        members
            .iter()
            .zip(urls)
            .filter(|(member, _)| !member.is_vacant())
            .map(|(member, url)| member.health.status(url, now))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Member>> {
        self.members.lock().expect("no count panicked")
    }
}

/// Returns the endpoint, of those that have room, at which the request is likely to be answered
/// soonest: with the fewest requests in flight ("least connections") for its weight and for how
/// slow it is, and among equals the one with the fewest answers. So while there is room everywhere,
/// a slow one gets few and holds nobody back, and while there is not, each gets as many as it
/// bears. The most room would be a poor measure: limits grow with answers, so whoever had more
/// answers would get still more. One that was set aside long enough comes first: otherwise it would
/// never be noticed that it is back. `most` may be in flight together; `but` is no choice.
fn choose(members: &[Member], most: usize, but: Option<usize>, now: Instant) -> Option<usize> {
    if members
        .iter()
        .map(|member| member.health.in_flight())
        .sum::<usize>()
        >= most
    {
        return None;
    }
    let has_room = |i: &usize| Some(*i) != but && !members[*i].is_retired && members[*i].health.room(now) > 0;
    (0..members.len()).filter(has_room).max_by_key(|&i| {
        let Member { health, weight, .. } = &members[i];
        // In thousandths, since weights divide.
        let for_weight = |number: u64| number.saturating_mul(1000) / u64::from((*weight).max(1));
        let wait = for_weight((health.in_flight() as u64 + 1).saturating_mul(health.slowness(now)));
        (
            health.is_aside(),
            Reverse((wait, for_weight(health.answers()), i)),
        )
    })
}

/// Returns the endpoint that may overtake `slow` with a request that `slow` has had since `sent`.
fn overtaker(members: &[Member], most: usize, slow: usize, sent: Instant, now: Instant) -> Option<usize> {
    let there = members.iter().filter(|member| member.is_there());
    let mut usual: Vec<Duration> = there.filter_map(|member| member.health.latency()).collect();
    usual.sort_unstable();
    if now - sent < LATE + *usual.get(usual.len().saturating_sub(1) / 2)? * USUAL {
        return None;
    }
    // Not one that is tried again after failures, or has yet to answer.
    choose(members, most, Some(slow), now)
        .filter(|&i| members[i].is_there() && members[i].health.answers() > 0)
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
        self.balancer.answered.fetch_add(1, Ordering::Relaxed);
        let mut members = self.balancer.lock();
        let health = &mut members[self.endpoint].health;
        health.answered(self.sent, is_felt, Instant::now())
    }

    /// Notes that the endpoint failed. `suspect`: this request failed before, while others were
    /// answered. A retired endpoint has nothing to answer for.
    pub fn failed(self, failure: &TransientFailure, suspect: bool) -> Standing {
        let mut members = self.balancer.lock();
        let has_others = (0..members.len()).any(|i| i != self.endpoint && members[i].is_there());
        let member = &mut members[self.endpoint];
        let (is_retired, now) = (member.is_retired, Instant::now());
        let standing = member
            .health
            .failed(self.sent, failure, suspect, has_others || is_retired, now);
        match is_retired {
            true => Standing::Up,
            false => standing,
        }
    }

    /// Notes that another endpoint answered sooner.
    pub fn overtaken(self) {
        let mut members = self.balancer.lock();
        let health = &mut members[self.endpoint].health;
        health.overtaken(self.sent.time, Instant::now());
    }

    /// Notes that the endpoint refuses whatever it is asked. Sets it aside if there are others, and
    /// returns for how long; zero if it is retired anyway. `None` if it is the last: then the
    /// settings are wrong, and not this endpoint.
    pub fn refused(self) -> Option<Duration> {
        let mut members = self.balancer.lock();
        if members[self.endpoint].is_retired {
            return Some(Duration::ZERO);
        }
        let has_others = (0..members.len()).any(|i| i != self.endpoint && members[i].is_there());
        has_others.then(|| members[self.endpoint].health.set_aside(Instant::now()))
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if let Ok(mut members) = self.balancer.members.lock() {
            members[self.endpoint].health.leave();
        }
        self.balancer.room.notify_one();
    }
}

#[cfg(test)]
mod tests;
