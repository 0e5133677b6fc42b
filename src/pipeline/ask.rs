//! One question to the model, with everything that holds for each: from the store when it was ever answered, else from
//! the backend within the budget, and committed before anybody reads it.

use super::budget::{Budget, Meter};
use super::{Ending, NoAnswer};
use crate::backend::{Backend, BackendError, Completion, Sampling};
use crate::store::Store;
use crate::store::request::NewRequest;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A request's answer and its row.
pub struct Answer {
    pub id: i64,
    pub completion: Completion,
}

/// Asks for one run.
pub struct Asker<'a> {
    pub store: &'a Store,
    pub run_id: i64,
    pub backend: &'a dyn Backend,
    pub budget: &'a Budget,
    pub interrupted: &'a AtomicBool,
    /// Set when the target is reached: nothing more is asked.
    pub enough: AtomicBool,
    pub meter: Meter,
    /// Content keys of what a backend deferred, by round, stage and ordinal.
    waiting: Mutex<BTreeMap<(u64, &'static str, u64), String>>,
}

impl<'a> Asker<'a> {
    /// Spends nothing yet.
    pub fn new(
        store: &'a Store,
        run_id: i64,
        backend: &'a dyn Backend,
        budget: &'a Budget,
        interrupted: &'a AtomicBool,
    ) -> Self {
        Asker {
            store,
            run_id,
            backend,
            budget,
            interrupted,
            enough: AtomicBool::new(false),
            meter: Meter::start(),
            waiting: Mutex::default(),
        }
    }

    /// Answers one request.
    pub async fn ask(
        &self,
        round: u64,
        stage: &'static str,
        ordinal: u64,
        prompt: String,
        sampling: Sampling,
    ) -> Result<Answer, NoAnswer> {
        let fatal = |error: crate::store::Error| NoAnswer::Fatal(error.into());
        let request = NewRequest {
            run_id: self.run_id,
            round,
            stage,
            ordinal,
            model: self.backend.model(),
            prompt,
            sampling,
        };
        let key = request.content_key();
        if let Some((id, completion)) = self.store.answer(&key).await.map_err(fatal)? {
            return Ok(Answer { id, completion });
        }
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(NoAnswer::Ending(Ending::Interrupted));
        }
        // What is looked up was paid for: it is committed whatever the budget says, and after the target too.
        if !self.backend.defers() {
            if self.enough.load(Ordering::Relaxed) {
                return Err(NoAnswer::Ending(Ending::Target));
            }
            if let Some(spent) = self.meter.spent(self.budget) {
                return Err(NoAnswer::Ending(Ending::Budget(spent)));
            }
            self.meter.count_request();
        }
        let start = Instant::now();
        let completion = match self
            .backend
            .complete(request.prompt.clone(), request.sampling.clone())
            .await
        {
            Ok(completion) => completion,
            Err(BackendError::Request(error)) => return Err(NoAnswer::Failed(error)),
            Err(BackendError::Fatal(error)) => return Err(NoAnswer::Fatal(anyhow::anyhow!(error))),
            Err(BackendError::Deferred) => {
                let mut waiting = self.waiting.lock().expect("nobody panics with it");
                waiting.insert((round, stage, ordinal), key);
                return Err(NoAnswer::Ending(Ending::Waiting));
            }
        };
        self.meter
            .count_tokens(completion.prompt_tokens, completion.completion_tokens);
        let latency_ms = start.elapsed().as_millis() as u64;
        let id = self
            .store
            .insert_request(&key, &request, &completion, latency_ms)
            .await
            .map_err(fatal)?;
        Ok(Answer { id, completion })
    }

    /// Content keys of the requests that were deferred, in the order of rounds.
    pub fn waiting(&self) -> Vec<String> {
        let waiting = self.waiting.lock().expect("nobody panics with it");
        waiting.values().cloned().collect()
    }
}
