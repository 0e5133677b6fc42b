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
        balancer.lock()[0].health.enter(Instant::now());
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
async fn endpoints_join_leave_and_come_back_while_requests_are_in_flight() {
    let balancer = balancer(1, 1);
    let old: Vec<_> = (0..4).map(|i| now(&balancer, i).unwrap()).collect();
    let waits = balancer.slot(4);
    tokio::pin!(waits);
    assert!(waits.as_mut().now_or_never().is_none());
    let share = Share {
        weight: 3,
        limit: Some(9),
    };
    assert_eq!(balancer.vacancy(), 1);
    balancer.join(1, share);
    balancer.retire(0);
    // Who waits goes to the new one at once, and what the old one has in flight is awaited.
    assert_eq!(waits.await.endpoint(), 1);
    assert_eq!(balancer.vacancy(), 2, "the old one is still at work");
    let mut old = old.into_iter();
    old.next().unwrap().answered();
    assert_eq!(balancer.answered(), 1);
    // Its failures blame nobody any more, although it was asked to fail once at most.
    for slot in old {
        assert_eq!(
            slot.failed(&failure(FailureKind::Unreachable), false),
            Standing::Up
        );
    }
    assert_eq!(status(&balancer).len(), 1);
    assert_eq!(balancer.vacancy(), 0);
    balancer.join(0, Share::default());
    // Three quarters go to the one that bears three times as much.
    let slots: Vec<_> = (5..13).map(|i| now(&balancer, i).unwrap()).collect();
    assert_eq!(slots.iter().filter(|slot| slot.endpoint() == 1).count(), 6);
    balancer.adjust(1, Share::default());
    assert_eq!(now(&balancer, 13).unwrap().endpoint(), 0);
}

#[tokio::test]
async fn a_slow_endpoint_gets_few_while_others_have_room() {
    let balancer = balancer(2, 1);
    let (slow, quick) = (now(&balancer, 0).unwrap(), now(&balancer, 1).unwrap());
    assert_eq!((slow.endpoint(), quick.endpoint()), (0, 1));
    quick.answered();
    balancer.lock()[0].health.answered(
        SentRequest {
            request: 0,
            time: Instant::now() - Duration::from_secs(60),
        },
        false,
        Instant::now(),
    );
    // Four have room at the quick one; only then it is the slow one's turn.
    let slots: Vec<_> = (2..7).map(|i| now(&balancer, i).unwrap().endpoint()).collect();
    assert_eq!(slots, [1; 5], "each was dropped at once");
    let slots: Vec<_> = (7..12).map(|i| now(&balancer, i).unwrap()).collect();
    let places: Vec<_> = slots.iter().map(Slot::endpoint).collect();
    assert_eq!(places, [1, 1, 1, 1, 0]);
}

#[tokio::test]
async fn one_that_refuses_everything_is_set_aside_and_the_last_is_not() {
    let balancer = balancer(2, 1);
    let (first, second) = (now(&balancer, 0).unwrap(), now(&balancer, 1).unwrap());
    assert_eq!(first.refused(), Some(ASIDE));
    assert_eq!(status(&balancer)[0].state, EndpointState::Aside);
    assert!((2..5).all(|i| now(&balancer, i).unwrap().endpoint() == 1));
    assert_eq!(second.refused(), None);
    let retired = now(&balancer, 5).unwrap();
    balancer.retire(1);
    assert_eq!(retired.refused(), Some(Duration::ZERO));
}

#[tokio::test]
async fn a_late_request_is_sent_elsewhere_where_there_is_room() {
    let balancer = balancer(3, 1);
    let (slow, quick) = (now(&balancer, 0).unwrap(), now(&balancer, 1).unwrap());
    let place = |after: Duration| {
        let sent = slow.sent.time;
        overtaker(
            &balancer.lock(),
            balancer.most,
            slow.endpoint(),
            sent,
            sent + after,
        )
    };
    assert_eq!(place(LATE * 100), None, "nobody has answered");
    quick.answered();
    assert_eq!(place(LATE / 2), None, "it is not late");
    // The third has fewer answers, and none yet: it may be as slow.
    assert_eq!(place(LATE * 100), None);
    balancer.retire(2);
    assert_eq!(place(LATE * 100), Some(1));
    let slots: Vec<_> = (2..9).map(|i| now(&balancer, i).unwrap()).collect();
    assert_eq!(place(LATE * 100), None, "there is no room");
    drop(slots);
    slow.overtaken();
    assert_eq!(status(&balancer)[0].in_flight, 0);
}

#[tokio::test]
async fn there_is_a_bound_for_all_together() {
    let mut balancer = balancer(3, 1);
    balancer.most = 5;
    let slots: Vec<_> = (0..5).map(|i| now(&balancer, i).unwrap()).collect();
    assert!(now(&balancer, 5).is_none());
    drop(slots);
    assert!(now(&balancer, 6).is_some());
    assert_eq!((balancer.capacity(1), balancer.capacity(1000)), (4, 5));
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
