//! The engine's thread. The requests of a step that fails inside libtorch go to other engines, and
//! end where there is none that has not failed with them. The engine drops what it computed and
//! goes on with those that wait. If memory ran out, it may go on with all but the newest. If the
//! CUDA context broke, or the thread panics elsewhere, all requests leave it, and the thread ends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use ewe::backend::{FinishReason, Sampling};

use super::batch::{Begun, Engine, EngineRequest, Listener, RequestOptions};
use super::dispatch::Dispatcher;
use super::state::WorkerState;
use crate::model::fault;
use crate::model::out_of_memory::Stage;
use crate::shim::memory;

/// How long a broken model rests before the engine tries it with a request of its own.
const REST: Duration = Duration::from_secs(5);

/// How often resident memory is checked while there is no request.
const PAUSE: Duration = Duration::from_millis(500);

/// Resident memory is checked after this many steps, and when the engine becomes idle.
const STEPS_BETWEEN_CHECKS: u64 = 256;

/// What an engine's thread has besides the engine.
pub(super) struct Work {
    /// Its requests.
    pub(super) incoming: mpsc::Receiver<Vec<EngineRequest>>,
    /// What it shares with those who ask.
    pub(super) state: Arc<WorkerState>,
    /// Who takes the requests of an engine that failed.
    pub(super) dispatcher: Arc<Dispatcher<EngineRequest>>,
    /// Its number there.
    pub(super) number: usize,
}

/// Takes incoming requests and advances the batch; waits while there is nothing to do. Returns when
/// nobody can send requests any more, when the device is lost, and after a panic between steps.
pub(super) fn run(mut engine: Engine, work: &Work) {
    let worked = catch_unwind(AssertUnwindSafe(|| work.until_end(&mut engine)));
    let lost = match worked {
        Ok(lost) => lost,
        Err(panic) => Some(EndedEarly {
            reason: fault::words(panic.as_ref()),
            is_device_lost: false,
        }),
    };
    let Some(EndedEarly {
        reason,
        is_device_lost,
    }) = lost
    else {
        return;
    };
    // From here on nothing more is sent to it.
    work.dispatcher.leave_out(work.number, &reason);
    let ran = engine.take_running(true);
    let mut waited = engine.take_waiting();
    waited.extend(work.incoming.try_iter().flatten());
    engine.abandon();
    work.state.left_by_all();
    if work.dispatcher.is_over() {
        work.state.end(&reason);
    }
    if is_device_lost {
        work.state.lose_device(&reason);
    } else {
        work.state.failed(&reason, Stage::Decode);
    }
    work.dispatcher.take_back(work.number, ran, waited, &reason);
}

/// Why a thread ends although somebody may send requests.
struct EndedEarly {
    reason: String,
    /// Whether the CUDA context broke.
    is_device_lost: bool,
}

impl Work {
    /// Advances the batch until nobody can send requests any more, or the device is lost.
    fn until_end(&self, engine: &mut Engine) -> Option<EndedEarly> {
        let state = &self.state;
        let (mut surplus, mut steps, mut rests) = (memory::Surplus::watch(), 0u64, false);
        loop {
            if engine.idle() {
                let trial = state.broken().map(|_| trial(engine));
                let requests = next(&self.incoming, trial, &mut surplus)?;
                requests.into_iter().for_each(|request| engine.submit(request));
            }
            while let Ok(requests) = self.incoming.try_recv() {
                requests.into_iter().for_each(|request| engine.submit(request));
            }
            let step = || {
                engine.advance();
                state.succeeded(engine.stats());
                engine.deliver();
                state.succeeded(engine.stats());
                Ok(())
            };
            let stepped = surplus.during(|| catch_unwind(AssertUnwindSafe(|| fault::caught(step))));
            steps += 1;
            if engine.idle() || steps % STEPS_BETWEEN_CHECKS == 0 {
                surplus.give_back();
            }
            let failed = match stepped {
                Ok(done) => done.err().map(|error| error.to_string()),
                Err(panic) => Some(fault::words(panic.as_ref())),
            };
            let Some(reason) = failed else {
                if std::mem::take(&mut rests) {
                    self.dispatcher.wake(self.number);
                }
                continue;
            };
            if fault::is_context_broken(&reason) {
                return Some(EndedEarly {
                    reason,
                    is_device_lost: true,
                });
            }
            if !(fault::is_out_of_memory(&reason) && engine.preempt(&reason)) {
                rests |= self.hand_over(engine, &reason);
            }
        }
    }

    /// Gives the requests of a step that failed to other engines, and drops what was computed; the
    /// requests that wait here go with them once the engine fails again and again. Returns whether
    /// it does.
    fn hand_over(&self, engine: &mut Engine, reason: &str) -> bool {
        let stage = engine.stage();
        let ran = engine.take_running(false);
        engine.reset();
        let text = self.state.failed(reason, stage);
        let is_broken = self.state.broken().is_some();
        let mut waited = Vec::new();
        if is_broken {
            self.dispatcher.rest(self.number, reason);
            if self.dispatcher.are_others_up(self.number) {
                waited = engine.take_waiting();
            }
        }
        if engine.idle() {
            self.state.left_by_all();
        }
        self.dispatcher.take_back(self.number, ran, waited, &text);
        is_broken
    }
}

/// Waits for requests. While the model is broken, returns `trial` after a rest. Returns none when
/// nobody can send requests any more.
///
/// Threads that read requests take and free memory, and the engine does not learn of requests that
/// they refuse. So it checks resident memory while it waits.
fn next(
    incoming: &mpsc::Receiver<Vec<EngineRequest>>,
    trial: Option<EngineRequest>,
    surplus: &mut memory::Surplus,
) -> Option<Vec<EngineRequest>> {
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

/// Returns the smallest possible request.
fn trial(engine: &Engine) -> EngineRequest {
    EngineRequest {
        prompt: vec![engine.begin_token()],
        sampling: Sampling {
            max_tokens: 1,
            temperature: 0.0,
            ..Sampling::default()
        },
        end_tokens: Vec::new(),
        options: RequestOptions::default(),
        listener: Box::new(Nobody),
        begun: Begun::default(),
    }
}

/// Ignores the answer to a trial.
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
