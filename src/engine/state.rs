//! What the engine's thread shares with those who send it requests.

use std::fmt::{self, Display};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ewe::backend::BackendError;
use futures::channel::mpsc::UnboundedSender;
use tokio::sync::Notify;

use super::batch::{Advice, Stats};
use super::event::EventResult;
use crate::model::out_of_memory::{OutOfMemory, Stage};

/// After this many failed steps in a row the model counts as broken, until a step succeeds.
const GIVEN_UP: usize = 3;

/// Statistics and failures of one engine, and answers that nobody ended, which engines share.
#[derive(Default)]
pub(super) struct WorkerState {
    stats: Mutex<Stats>,
    failures: Mutex<Failures>,
    /// Notified once the device cannot compute any more.
    lost: Notify,
    pub(super) orphans: Arc<Orphans>,
    /// Hints about too little memory.
    pub(super) advice: Advice,
}

/// Steps that failed since the last one that succeeded.
#[derive(Default)]
struct Failures {
    in_a_row: usize,
    last: Option<StepFailure>,
    /// Whether the last one broke the CUDA context, after which no step can succeed.
    is_device_lost: bool,
}

/// Why a step failed.
enum StepFailure {
    OutOfMemory(OutOfMemory),
    Other(String),
}

impl StepFailure {
    /// Returns the reason without a hint.
    fn reason(&self) -> &str {
        match self {
            StepFailure::OutOfMemory(error) => error.reason(),
            StepFailure::Other(reason) => reason,
        }
    }
}

impl Display for StepFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StepFailure::OutOfMemory(error) => error.fmt(f),
            StepFailure::Other(reason) => reason.fmt(f),
        }
    }
}

impl WorkerState {
    pub(super) fn new(advice: Advice, orphans: Arc<Orphans>) -> WorkerState {
        WorkerState {
            advice,
            orphans,
            ..WorkerState::default()
        }
    }

    /// Returns the statistics of the last step that succeeded.
    pub(super) fn stats(&self) -> Stats {
        *locked(&self.stats)
    }

    /// Returns why the model counts as broken, if it does.
    pub(super) fn broken(&self) -> Option<String> {
        let failures = locked(&self.failures);
        let is_broken = failures.in_a_row >= GIVEN_UP || failures.is_device_lost;
        let last = failures.last.as_ref().filter(|_| is_broken);
        last.map(|failure| failure.reason().to_owned())
    }

    /// Takes the statistics of an engine that does nothing any more for the requests that it had.
    pub(super) fn left_by_all(&self) {
        let mut stats = locked(&self.stats);
        (stats.running, stats.waiting, stats.kv_bytes) = (0, 0, 0);
    }

    /// Returns why the last step failed that did; else that the thread ended.
    pub(super) fn last(&self) -> String {
        let failures = locked(&self.failures);
        let last = failures.last.as_ref().map(StepFailure::reason);
        last.unwrap_or(ENDED).to_owned()
    }

    /// Counts a failed step, and ends the answers that it left without an end. Returns the reason
    /// for those who asked, with a hint where there is one.
    pub(super) fn failed(&self, reason: &str, stage: Stage) -> String {
        let hint = || Some(self.advice.memory.to_owned());
        let failure = match OutOfMemory::of(reason, stage, hint) {
            Some(error) => StepFailure::OutOfMemory(error),
            None => StepFailure::Other(reason.to_owned()),
        };
        let text = failure.to_string();
        let mut failures = locked(&self.failures);
        failures.in_a_row += 1;
        failures.last = Some(failure);
        drop(failures);
        // Only now that the reason is stored: who receives the error may ask for it.
        self.orphans.fail(&text);
        text
    }

    /// Records that the CUDA context is broken, and ends the answers of requests that were dropped.
    pub(super) fn lose_device(&self, reason: &str) {
        let mut failures = locked(&self.failures);
        failures.last = Some(StepFailure::Other(reason.to_owned()));
        failures.is_device_lost = true;
        drop(failures);
        self.orphans.fail(reason);
        self.lost.notify_one();
    }

    /// Ends the answers of requests that are dropped from now on, as those that were: no engine is
    /// left.
    pub(super) fn end(&self, reason: &str) {
        self.orphans.fail_from_now_on(reason);
    }

    /// Waits until the CUDA context is broken. Returns the error that broke it.
    pub(super) async fn device_lost(&self) -> String {
        loop {
            if let Some(reason) = self.lost_reason() {
                return reason;
            }
            self.lost.notified().await;
        }
    }

    fn lost_reason(&self) -> Option<String> {
        let failures = locked(&self.failures);
        let last = failures.last.as_ref().filter(|_| failures.is_device_lost);
        last.map(|failure| failure.reason().to_owned())
    }

    /// Counts a step that succeeded.
    pub(super) fn succeeded(&self, stats: Stats) {
        locked(&self.failures).in_a_row = 0;
        *locked(&self.stats) = stats;
    }
}

/// Answers that a failed step left without an end. They receive the reason once it is known.
#[derive(Default)]
pub(super) struct Orphans(Mutex<OrphanedAnswers>);

#[derive(Default)]
struct OrphanedAnswers {
    waiting: Vec<UnboundedSender<EventResult>>,
    /// Why the last ones ended.
    last: Option<String>,
    /// The reason of all that come, once there will be no other.
    reason: Option<String>,
}

impl Orphans {
    /// Adds an answer.
    pub(super) fn add(&self, events: UnboundedSender<EventResult>) {
        let mut orphans = locked(&self.0);
        match &orphans.reason {
            Some(reason) => {
                let _ = events.unbounded_send(Err(stopped(reason)));
            }
            None => orphans.waiting.push(events),
        }
    }

    /// Ends all of them for this reason.
    fn fail(&self, reason: &str) {
        let mut orphans = locked(&self.0);
        orphans.last = Some(reason.to_owned());
        for events in orphans.waiting.drain(..) {
            let _ = events.unbounded_send(Err(stopped(reason)));
        }
    }

    /// Ends all of them for this reason, and all that come after.
    fn fail_from_now_on(&self, reason: &str) {
        locked(&self.0).reason = Some(reason.to_owned());
        self.fail(reason);
    }

    /// Returns the error of an answer without an end.
    pub(super) fn fatal(&self) -> BackendError {
        match &locked(&self.0).last {
            Some(reason) => stopped(reason),
            None => stopped(ENDED),
        }
    }
}

/// What is known of a thread that ended without an error.
pub(super) const ENDED: &str = "its thread ended";

/// Returns the error of a request that a failure ended.
pub(super) fn stopped(failure: impl Display) -> BackendError {
    BackendError::Fatal(format!("the local model stopped: {failure}"))
}

/// Locks, whether or not a thread panicked while it held the lock.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
