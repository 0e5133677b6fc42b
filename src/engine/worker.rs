//! The engine's thread. A step that fails inside libtorch ends the requests that were part of it.
//! The engine drops what it computed and goes on with those that wait. If memory ran out, it may go
//! on with all but the newest. If the CUDA context broke, all requests and the thread end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use ewe::backend::{FinishReason, Sampling};

use super::batch::{Engine, EngineRequest, Listener, RequestOptions};
use super::state::WorkerState;
use crate::model::fault;
use crate::shim::memory;

/// How long a broken model rests before the engine tries it with a request of its own.
const REST: Duration = Duration::from_secs(5);

/// How often resident memory is checked while there is no request.
const PAUSE: Duration = Duration::from_millis(500);

/// Resident memory is checked after this many steps, and when the engine becomes idle.
const STEPS_BETWEEN_CHECKS: u64 = 256;

/// Takes incoming requests and advances the batch; waits while there is nothing to do. Returns when
/// nobody can send requests any more, and when the device is lost.
pub(super) fn run(mut engine: Engine, incoming: &mpsc::Receiver<Vec<EngineRequest>>, state: &WorkerState) {
    let (mut surplus, mut steps) = (memory::Surplus::watch(), 0u64);
    loop {
        if engine.idle() {
            let trial = state.broken().map(|_| trial(&engine));
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
            continue;
        };
        if fault::is_context_broken(&reason) {
            engine.abandon();
            state.lose_device(&reason);
            return;
        }
        if !(fault::is_out_of_memory(&reason) && engine.preempt(&reason)) {
            let stage = engine.stage();
            engine.reset();
            state.failed(&reason, stage);
        }
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
