//! Sends one request to the model, or takes its response from the store if there is one. Requests
//! stay within the budget, and responses are committed before they are parsed.

use super::budget::{Budget, Meter};
use super::futility::{Futility, Trial};
use super::worth::Worth;
use super::{Ending, NoAnswer};
use crate::backend::{Backend, BackendError, Completion, FinishReason, Leave, Question, Sampling};
use crate::reasoning;
use crate::store::Store;
use crate::store::asked::request::NewRequest;
use crate::task::Verdict;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often waiting requests check whether the run is ending.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The response to a request, without the model's reasoning.
pub struct Response<'a> {
    /// The id of its row.
    pub id: i64,
    pub completion: Completion,
    /// `None` for a response from the store.
    trial: Option<Trial<'a>>,
}

impl Response<'_> {
    /// Settles the request by whether something in the response is useful.
    pub fn settle(&mut self, is_useful: bool) {
        if let Some(trial) = self.trial.take() {
            trial.settle(is_useful, &self.completion);
        }
    }

    /// Settles the request by the verdicts on the texts in the response.
    pub fn settle_by<'t>(&mut self, offers: impl IntoIterator<Item = (&'t str, &'t Verdict)>) {
        let worth = Worth::of(offers);
        match (worth, self.trial.take()) {
            (_, None) => {}
            (Worth::Rejected { reason, text }, Some(trial)) => trial.is_rejected(reason, text),
            (worth, Some(trial)) => trial.settle(matches!(worth, Worth::Usable), &self.completion),
        }
    }
}

/// Sends the requests of a run.
pub struct Asker<'a> {
    pub store: &'a Store,
    pub run_id: i64,
    pub backend: &'a dyn Backend,
    pub budget: &'a Budget,
    pub interrupted: &'a AtomicBool,
    /// Set when the target is reached: no more requests are sent.
    pub enough: AtomicBool,
    pub meter: Meter,
    pub futility: Futility,
    /// Content keys of deferred requests, by round, stage and ordinal.
    waiting: Mutex<BTreeMap<(u64, &'static str, u64), String>>,
}

impl<'a> Asker<'a> {
    /// Starts without requests.
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

    /// Returns the response to a request, from the store or else from the backend.
    pub async fn ask(
        &self,
        round: u64,
        stage: &'static str,
        ordinal: u64,
        prompt: String,
        sampling: Sampling,
    ) -> Result<Response<'_>, NoAnswer> {
        let place = (round, stage, ordinal);
        self.answer_to(place, prompt, None, sampling).await
    }

    /// Returns the response to a question, which the backend lays out, like [`Asker::ask`].
    pub async fn ask_question(
        &self,
        stage: &'static str,
        ordinal: u64,
        question: &Question,
        sampling: Sampling,
    ) -> Result<Response<'_>, NoAnswer> {
        self.ask_in_round(0, stage, ordinal, question, sampling).await
    }

    /// Returns the response to a question of a round.
    pub async fn ask_in_round(
        &self,
        round: u64,
        stage: &'static str,
        ordinal: u64,
        question: &Question,
        sampling: Sampling,
    ) -> Result<Response<'_>, NoAnswer> {
        let place = (round, stage, ordinal);
        self.answer_to(place, question.prompt(), Some(question), sampling)
            .await
    }

    /// Returns the response to a prompt, or to the question that it stands for.
    async fn answer_to(
        &self,
        (round, stage, ordinal): (u64, &'static str, u64),
        prompt: String,
        question: Option<&Question>,
        sampling: Sampling,
    ) -> Result<Response<'_>, NoAnswer> {
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
            return response(id, completion, &request.sampling, None);
        }
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(NoAnswer::Ending(Ending::Interrupted));
        }
        // A deferring backend looks up responses that were paid for. They are committed whatever
        // the budget says, also after the target is reached.
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
        let sampling = request.sampling.clone();
        let asked = match question {
            Some(question) => self.backend.ask(question, sampling, &permit),
            None => self
                .backend
                .complete_with(request.prompt.clone(), sampling, &permit),
        };
        let completion = match asked.await {
            Ok(completion) => completion,
            Err(BackendError::Request(error)) => {
                trial.is_useless(&error);
                return Err(NoAnswer::Failed(error));
            }
            Err(BackendError::Fatal(error) | BackendError::Overloaded(error)) => {
                return Err(NoAnswer::Fatal(anyhow::anyhow!(error)));
            }
            Err(BackendError::Withdrawn) => return Err(self.withdrawal()),
            Err(BackendError::Deferred) => {
                let mut waiting = self.waiting.lock().expect("nobody panics with it");
                waiting.insert((round, stage, ordinal), key);
                return Err(NoAnswer::Ending(Ending::Waiting));
            }
        };
        self.meter
            .count_answer(stage, completion.prompt_tokens, completion.completion_tokens);
        let latency_ms = start.elapsed().as_millis() as u64;
        let id = self
            .store
            .insert_request(&key, &request, &completion, latency_ms)
            .await
            .map_err(fatal)?;
        response(id, completion, &request.sampling, Some(trial))
    }

    /// Why no more requests are sent; `None` while some are.
    fn ending(&self) -> Option<Ending> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Some(Ending::Interrupted);
        }
        self.meter.is_out_of_time(self.budget).map(Ending::Budget)
    }

    /// Why a request was withdrawn before it was sent.
    fn withdrawal(&self) -> NoAnswer {
        match self.futility.over() {
            Some(message) => NoAnswer::Fatal(anyhow::anyhow!(message)),
            None => NoAnswer::Ending(self.ending().unwrap_or(Ending::Interrupted)),
        }
    }

    /// The content keys of deferred requests, in the order of rounds.
    pub fn waiting(&self) -> Vec<String> {
        self.waiting_before(u64::MAX)
    }

    /// The same, of rounds before this one.
    pub fn waiting_before(&self, end: u64) -> Vec<String> {
        let waiting = self.waiting.lock().expect("nobody panics with it");
        let before = waiting.iter().filter(|((round, ..), _)| *round < end);
        before.map(|(_, key)| key.clone()).collect()
    }
}

/// Limits the sending of one request.
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

    fn in_vain(&self, brought: Result<&Completion, &str>) {
        self.trial.note(brought);
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

/// Prepares a completion for parsing: removes the reasoning, and cuts the text at the first stop
/// string, which not every server does. A refusal counts as a failed request.
fn response<'a>(
    id: i64,
    mut completion: Completion,
    sampling: &Sampling,
    trial: Option<Trial<'a>>,
) -> Result<Response<'a>, NoAnswer> {
    if let Some(refusal) = completion.refusal {
        if let Some(trial) = trial {
            trial.is_useless(&refusal);
        }
        return Err(NoAnswer::Failed(refusal));
    }
    if let Some(split) = reasoning::split(&completion.text) {
        let before = completion
            .text
            .rfind(&split.answer)
            .unwrap_or(completion.text.len());
        completion.places_after(before);
        completion.text = split.answer;
        completion.reasoning.push_str(&split.reasoning);
    } else if !completion.reasoning.is_empty() {
        // Servers that remove the reasoning leave the line breaks after it.
        let text = completion.text.trim_start().to_string();
        completion.places_after(completion.text.len() - text.len());
        completion.text = text;
    }
    // Some servers leave end tokens in the text.
    if let Some(end) = reasoning::end(&completion.text) {
        completion.text.truncate(end);
        completion.finish_reason = FinishReason::Stop;
    }
    let stops = sampling.stop.iter().filter(|stop| !stop.is_empty());
    if let Some(end) = stops.filter_map(|stop| completion.text.find(stop)).min() {
        completion.text.truncate(end);
        completion.finish_reason = FinishReason::Stop;
    }
    Ok(Response {
        id,
        completion,
        trial,
    })
}
