//! One question to the model, with everything that holds for each: from the store when it was ever answered, else from
//! the backend within the budget, and committed before anybody reads it.

use super::budget::{Budget, Meter};
use super::futility::{Futility, Trial};
use super::outcome::Worth;
use super::{Ending, NoAnswer};
use crate::backend::{Backend, BackendError, Completion, FinishReason, Leave, Sampling};
use crate::reasoning;
use crate::store::Store;
use crate::store::asked::request::NewRequest;
use crate::store::asked::round::Rejection;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often those who wait look whether the run is ending.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A request's answer, without what the model thought aloud, and its row.
pub struct Answer<'a> {
    pub id: i64,
    pub completion: Completion,
    /// None for an answer that was there already.
    trial: Option<Trial<'a>>,
}

impl Answer<'_> {
    /// Says whether something in the answer could be used.
    pub fn settle(&mut self, is_useful: bool) {
        if let Some(trial) = self.trial.take() {
            trial.settle(is_useful, &self.completion);
        }
    }

    /// Says what speaks against each text in the answer, if anything.
    pub fn settle_by<'t>(&mut self, offers: impl IntoIterator<Item = (&'t str, Option<&'t Rejection>)>) {
        let worth = Worth::of(offers);
        match (worth, self.trial.take()) {
            (_, None) => {}
            (Worth::TurnedAway { rule, text }, Some(trial)) => trial.is_turned_away(rule, text),
            (worth, Some(trial)) => trial.settle(matches!(worth, Worth::Usable), &self.completion),
        }
    }
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
    /// Requests that bring nothing.
    pub futility: Futility,
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
            futility: Futility::new(budget.futile),
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
    ) -> Result<Answer<'_>, NoAnswer> {
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
            return answer(id, completion, &request.sampling, None);
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
        let trial = self.futility.trial(stage);
        let start = Instant::now();
        let permit = Permit {
            asker: self,
            trial: &trial,
        };
        let asked = self
            .backend
            .complete_with(request.prompt.clone(), request.sampling.clone(), &permit);
        let completion = match asked.await {
            Ok(completion) => completion,
            Err(BackendError::Request(error)) => {
                trial.is_useless(&error);
                return Err(NoAnswer::Failed(error));
            }
            Err(BackendError::Fatal(error)) => return Err(NoAnswer::Fatal(anyhow::anyhow!(error))),
            Err(BackendError::Withdrawn) => return Err(self.withdrawal()),
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
        answer(id, completion, &request.sampling, Some(trial))
    }

    /// Why nothing more is sent, if so.
    fn ending(&self) -> Option<Ending> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Some(Ending::Interrupted);
        }
        self.meter.is_out_of_time(self.budget).map(Ending::Budget)
    }

    /// What became of a request that was not sent any more.
    fn withdrawal(&self) -> NoAnswer {
        match self.futility.over() {
            Some(message) => NoAnswer::Fatal(anyhow::anyhow!(message)),
            None => NoAnswer::Ending(self.ending().unwrap_or(Ending::Interrupted)),
        }
    }

    /// Content keys of the requests that were deferred, in the order of rounds.
    pub fn waiting(&self) -> Vec<String> {
        let waiting = self.waiting.lock().expect("nobody panics with it");
        waiting.values().cloned().collect()
    }
}

/// What a request of this run may do.
struct Permit<'a> {
    asker: &'a Asker<'a>,
    trial: &'a Trial<'a>,
}

impl Leave for Permit<'_> {
    fn request(&self) -> BoxFuture<'_, Result<(), BackendError>> {
        self.trial.request().boxed()
    }

    fn follow_up(&self) {
        self.trial.count();
    }

    fn refund(&self) {
        self.trial.refund();
    }

    fn withdrawn(&self) -> BoxFuture<'_, ()> {
        async {
            while self.asker.ending().is_none() && !self.asker.futility.is_over() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        .boxed()
    }
}

/// What is read of an answer: reasoning is taken out of its text, which ends at the first stop string also where the
/// server did not see to that. A refusal is no answer.
fn answer<'a>(
    id: i64,
    mut completion: Completion,
    sampling: &Sampling,
    trial: Option<Trial<'a>>,
) -> Result<Answer<'a>, NoAnswer> {
    if let Some(refusal) = completion.refusal {
        if let Some(trial) = trial {
            trial.is_useless(&refusal);
        }
        return Err(NoAnswer::Failed(refusal));
    }
    if let Some(split) = reasoning::split(&completion.text) {
        completion.text = split.answer;
        completion.reasoning.push_str(&split.reasoning);
    } else if !completion.reasoning.is_empty() {
        // Servers that take reasoning out leave the line breaks behind it.
        completion.text = completion.text.trim_start().to_string();
    }
    // Some servers leave in the text what its end is written with.
    if let Some(end) = reasoning::end(&completion.text) {
        completion.text.truncate(end);
        completion.finish_reason = FinishReason::Stop;
    }
    let stops = sampling.stop.iter().filter(|stop| !stop.is_empty());
    if let Some(end) = stops.filter_map(|stop| completion.text.find(stop)).min() {
        completion.text.truncate(end);
        completion.finish_reason = FinishReason::Stop;
    }
    Ok(Answer {
        id,
        completion,
        trial,
    })
}
