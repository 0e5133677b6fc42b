//! The engine's thread. A step that fails inside libtorch, out of memory say, ends the requests that took part in it;
//! the engine forgets what it had computed and goes on with those that wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ewe::backend::{BackendError, FinishReason, Sampling};

use super::answer::Orphans;
use super::batch::{Advice, Engine, Listener, Request, Stats, Wants};
use crate::model::fault;
use crate::shim::memory;

/// After so many failed steps in a row the model counts as broken, until a step succeeds.
const GIVEN_UP: usize = 3;

/// How long a broken model rests before it is tried with a request of the engine's own.
const REST: Duration = Duration::from_secs(5);

/// After so long without a request, and again and again, resident memory is looked at.
const PAUSE: Duration = Duration::from_millis(500);

/// Steps after which resident memory is looked at, unless there is nothing to do before.
const LOOKED_AT: u64 = 256;

/// What the thread and those who ask it both see.
#[derive(Default)]
pub(super) struct Shared {
    stats: Mutex<Stats>,
    failures: Mutex<Failures>,
    pub(super) orphans: Arc<Orphans>,
    /// What to tell whoever asks about too little memory.
    pub(super) advice: Advice,
}

/// Steps that failed since the last one that did not.
#[derive(Default)]
struct Failures {
    in_a_row: usize,
    last: String,
}

impl Shared {
    pub(super) fn new(advice: Advice) -> Shared {
        Shared {
            advice,
            ..Shared::default()
        }
    }

    pub(super) fn stats(&self) -> Stats {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the model cannot go on, as far as can be told.
    pub(super) fn broken(&self) -> Option<String> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        (failures.in_a_row >= GIVEN_UP).then(|| failures.last.clone())
    }

    /// The error of whoever finds the thread gone.
    pub(super) fn fatal(&self) -> BackendError {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        self.stopped(match failures.last.as_str() {
            "" => "its thread ended",
            reason => reason,
        })
    }

    fn failed(&self, reason: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.in_a_row += 1;
        failures.last = reason.to_string();
        drop(failures);
        // Only now that the reason is known: who is told may ask for it.
        self.orphans.fail(|| self.stopped(reason));
    }

    fn succeeded(&self, stats: Stats) {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .in_a_row = 0;
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }

    fn stopped(&self, reason: &str) -> BackendError {
        let hint = match fault::is_out_of_memory(&reason) {
            true => format!("\nhint: {}", self.advice.memory),
            false => String::new(),
        };
        BackendError::Fatal(format!("the local model stopped: {reason}{hint}"))
    }
}

/// Takes what has come, advances the batch, waits when there is nothing to do; until nobody can ask any more.
pub(super) fn work(mut engine: Engine, incoming: &mpsc::Receiver<Vec<Request>>, shared: &Shared) {
    let (mut surplus, mut steps) = (memory::Surplus::watch(), 0u64);
    loop {
        if engine.idle() {
            let trial = shared.broken().map(|_| trial(&engine));
            match next(incoming, trial, &mut surplus) {
                Some(requests) => requests.into_iter().for_each(|request| engine.submit(request)),
                None => return,
            }
        }
        while let Ok(requests) = incoming.try_recv() {
            requests.into_iter().for_each(|request| engine.submit(request));
        }
        let step = || {
            engine.advance();
            shared.succeeded(engine.stats());
            engine.deliver();
            shared.succeeded(engine.stats());
            Ok(())
        };
        let stepped = surplus.during(|| catch_unwind(AssertUnwindSafe(|| fault::caught(step))));
        steps += 1;
        if engine.idle() || steps % LOOKED_AT == 0 {
            surplus.give_back();
        }
        let failed = match stepped {
            Ok(done) => done.err().map(|error| error.to_string()),
            Err(panic) => Some(fault::words(panic.as_ref())),
        };
        if let Some(reason) = failed {
            engine.reset();
            shared.failed(&reason);
        }
    }
}

/// Waits for requests; a broken model gets one of our own, `trial`, after a while. None when nobody
/// can ask any more.
///
/// Whoever reads requests on other threads takes and frees memory of which the engine hears nothing
/// where they are refused, so it looks by itself.
fn next(
    incoming: &mpsc::Receiver<Vec<Request>>,
    trial: Option<Request>,
    surplus: &mut memory::Surplus,
) -> Option<Vec<Request>> {
    let begun = Instant::now();
    loop {
        match incoming.recv_timeout(PAUSE) {
            Ok(requests) => return Some(requests),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => surplus.rest(),
        }
        if trial.is_some() && begun.elapsed() >= REST {
            return trial.map(|request| vec![request]);
        }
    }
}

/// The smallest request there is.
fn trial(engine: &Engine) -> Request {
    Request {
        prompt: vec![engine.begin_token()],
        sampling: Sampling {
            max_tokens: 1,
            temperature: 0.0,
            ..Sampling::default()
        },
        end_tokens: Vec::new(),
        wants: Wants::default(),
        listener: Box::new(Nobody),
    }
}

struct Nobody;

impl Listener for Nobody {
    fn token(&mut self, _: i64) -> bool {
        true
    }
    fn done(&mut self, _: FinishReason, _: usize) {}
    fn failed(&mut self, _: String) {}
    fn gone(&self) -> bool {
        false
    }
}
