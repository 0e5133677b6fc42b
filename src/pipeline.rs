//! The arrows: generate → filter → store, and the loop that feeds accepted tasks back into prompts.
//!
//! A *round* is one prompt for tasks and everything that follows from it; what that is, the recipe says
//! (`self_instruct`, `alpaca`); some may rewrite a task instead (`evolution`). Rounds run side by side, up to the window;
//! they are admitted in order, each in one transaction. Round k is prompted from, and first checked against, what
//! was admitted up to round k − window: a function of k, however answers arrive. Every answer is committed before it
//! is read, under a key of everything that shaped it, so nothing is asked twice.

mod admission;
mod alpaca;
pub mod budget;
mod evolution;
mod neighbors;
mod novelty;
mod pool;
mod progress;
pub mod rejudge;
mod self_instruct;

use crate::backend::{Backend, BackendError, Completion, Sampling};
use crate::filter::elimination;
use crate::filter::judge::NEAR_DUPLICATE;
use crate::filter::rules::{Objection, RuleSet};
use crate::filter::{Score, Threshold};
use crate::generate::evolution::Draw;
use crate::generate::examples::{Dealer, Shelf};
use crate::generate::parse::Fault;
use crate::generate::recipe::{Alpaca, Evolve, Recipe};
use crate::generate::round::request_seed;
use crate::generate::topics::Topics;
use crate::store::evolution::NewEvolution;
use crate::store::request::NewRequest;
use crate::store::round::{AdmittedInstance, Rejection, Similar};
use crate::store::{RunStatus, Store};
use anyhow::{Result, bail};
use budget::{Budget, Meter};
use evolution::Evolver;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use neighbors::Waiting;
use novelty::Novelty;
use pool::{Pool, Shown, first_instances, seed_tasks};
pub use progress::{Ending, Progress};
use self_instruct::SelfInstructMethod;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::Instant;

/// Rounds in a row that may bring nothing at all before the run gives up.
const FRUITLESS_ROUNDS: u64 = 200;
/// Rounds in a row whose first request may fail.
const FAILED_ROUNDS: u64 = 10;

/// Settings of a run.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Config {
    /// Accepted machine-made tasks that the dataset shall have.
    pub target: u64,
    /// Seeds all randomness.
    pub seed: u64,
    /// Rounds that run side by side.
    pub window: u64,
    /// ROUGE-L F1 above which two instructions are the same.
    #[serde(serialize_with = "as_text")]
    pub threshold: Threshold,
    /// What a single task must satisfy.
    pub rules: RuleSet,
    /// Stop when this is spent.
    pub budget: Budget,
    /// Stop when a smaller part of the instructions that the rules let through is new, 0 to 1.
    pub min_novelty: f64,
    /// Prompts and sampling.
    pub recipe: Recipe,
    /// Which rounds rewrite a task in place of the recipe's round, and how; none does where this is missing.
    pub evolve: Option<Evolve>,
    /// What the tasks of a round shall have to do with.
    pub topics: Topics,
}

impl Config {
    /// What the store keeps: the settings, and the reasons for which they may turn a candidate away.
    fn to_json(&self) -> Result<serde_json::Value> {
        let mut json = serde_json::to_value(self)?;
        let mut reasons = self.rules.reasons();
        reasons.push(NEAR_DUPLICATE);
        if self.evolve.is_some() {
            reasons.extend(elimination::REASONS);
        }
        json["reasons"] = reasons.into();
        Ok(json)
    }
}

fn as_text<S: serde::Serializer>(threshold: &Threshold, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(threshold)
}

/// Why a request has no answer.
enum NoAnswer {
    /// Only this one failed.
    Failed(String),
    /// The run is ending.
    Ending(Ending),
    /// The run cannot go on.
    Fatal(anyhow::Error),
}

/// What the rounds of a recipe need.
enum Method<'a> {
    SelfInstruct(SelfInstructMethod<'a>),
    Alpaca(&'a Alpaca),
}

/// Everything that a round looks at. Only admission changes the pool, between polls of the rounds.
struct Run<'a> {
    store: &'a Store,
    run_id: i64,
    config: &'a Config,
    backend: &'a dyn Backend,
    interrupted: &'a AtomicBool,
    /// Set when the target is reached: nothing more is asked.
    enough: AtomicBool,
    method: Method<'a>,
    evolver: Option<Evolver<'a>>,
    pool: RwLock<Pool>,
    dealer: Mutex<Dealer>,
    waiting: Mutex<Waiting>,
    novelty: Mutex<Novelty>,
    meter: Meter,
}

/// Grows the dataset to the target, or until a budget is spent or `interrupted` is set.
///
/// `show` is called after each admitted round.
pub async fn grow(
    store: &Store,
    config: &Config,
    backend: &dyn Backend,
    interrupted: &AtomicBool,
    show: &mut dyn FnMut(&Progress),
) -> Result<Ending> {
    let seeds = seed_tasks(store).await?;
    if seeds.is_empty() {
        bail!(
            "{}: there are no accepted seed tasks\nhint: make the database with `ewe init --seeds FILE`",
            store.path().display()
        );
    }
    let pool = match &config.recipe {
        Recipe::SelfInstruct(_) => Pool::new(store.pool().await?, config.threshold),
        // Its prompts show tasks with their instances.
        Recipe::Alpaca(_) => Pool::with_instances(
            store.pool().await?,
            config.threshold,
            first_instances(store).await?,
        ),
    };
    let mut progress = Progress {
        target: config.target,
        accepted: store.accepted_machine_tasks().await?,
        ..Progress::default()
    };
    if progress.accepted >= config.target {
        return Ok(Ending::Target);
    }
    let mut next = store.next_round().await?;
    let run_id = store
        .begin_run(
            "generate",
            &config.to_json()?,
            Some(config.seed as i64),
            Some(backend.model()),
        )
        .await?;
    let run = Run {
        store,
        run_id,
        config,
        backend,
        interrupted,
        enough: AtomicBool::new(false),
        method: match &config.recipe {
            Recipe::SelfInstruct(recipe) => Method::SelfInstruct(SelfInstructMethod::new(recipe, &seeds)),
            Recipe::Alpaca(recipe) => Method::Alpaca(recipe),
        },
        evolver: config.evolve.as_ref().map(|evolve| Evolver::new(evolve, &seeds)),
        dealer: Mutex::new(Dealer::new(config.recipe.choice(), config.seed, next)),
        waiting: Mutex::new(Waiting::left_over(store, &pool).await?),
        novelty: Mutex::new(Novelty::after(store.last_novelties(novelty::SPAN).await?)),
        pool: RwLock::new(pool),
        meter: Meter::start(),
    };
    let mut result = run.rounds(&mut next, &mut progress, show).await;
    if result.is_ok()
        && let Err(error) = run.settle_neighbors().await
    {
        result = Err(error);
    }
    let status = match &result {
        Ok(Ending::Target | Ending::Budget(_) | Ending::Saturated) => RunStatus::Done,
        Ok(Ending::Interrupted) => RunStatus::Interrupted,
        Err(_) => RunStatus::Failed,
    };
    // The error of the run is worth more than one of writing that it failed.
    let finished = store.finish_run(run_id, status).await;
    let ending = result?;
    finished?;
    Ok(ending)
}

impl Run<'_> {
    async fn rounds(
        &self,
        next: &mut u64,
        progress: &mut Progress,
        show: &mut dyn FnMut(&Progress),
    ) -> Result<Ending> {
        let mut running: Running<'_> = FuturesOrdered::new();
        for round in *next..*next + self.config.window {
            running.push_back(self.round(round).boxed());
        }
        // Rounds that ended while an earlier one was admitted.
        let mut ended = VecDeque::new();
        let (mut fruitless, mut failed) = (0, 0);
        loop {
            let outcome = match ended.pop_front() {
                Some(outcome) => outcome,
                None => running
                    .next()
                    .await
                    .expect("as many rounds run as the window is wide"),
            };
            let outcome = match outcome {
                Ok(outcome) => outcome,
                Err(NoAnswer::Fatal(error)) => return Err(error),
                Err(NoAnswer::Ending(ending)) => {
                    self.drain(&mut running, progress).await;
                    show(progress);
                    return Ok(ending);
                }
                Err(NoAnswer::Failed(error)) => bail!(error),
            };
            failed = if outcome.failure.is_some() { failed + 1 } else { 0 };
            if let (true, Some(failure)) = (failed >= FAILED_ROUNDS, &outcome.failure) {
                bail!("{failed} rounds in a row could not be asked for: {failure}");
            }
            let admission = self.admit(*next, outcome, progress);
            let accepted = keep_polling(&mut running, &mut ended, admission).await?;
            if self.waiting.lock().expect("no search panicked").is_full() {
                keep_polling(&mut running, &mut ended, self.settle_neighbors()).await?;
            }
            fruitless = if accepted == 0 { fruitless + 1 } else { 0 };
            self.count(progress);
            show(progress);
            if progress.accepted >= progress.target {
                self.enough.store(true, Ordering::Relaxed);
                self.drain(&mut running, progress).await;
                show(progress);
                return Ok(Ending::Target);
            }
            let is_saturated = {
                let novelty = self.novelty.lock().expect("nobody panics with it");
                novelty.is_below(self.config.min_novelty)
            };
            if is_saturated {
                self.enough.store(true, Ordering::Relaxed);
                self.drain(&mut running, progress).await;
                show(progress);
                return Ok(Ending::Saturated);
            }
            if fruitless >= FRUITLESS_ROUNDS {
                bail!(
                    "{FRUITLESS_ROUNDS} rounds in a row brought no new task; the model only repeats what is there\n\
                     hint: look at `select reason, count(*) from candidate group by 1`, give more seeds, or take a larger model"
                );
            }
            running.push_back(self.round(*next + self.config.window).boxed());
            *next += 1;
        }
    }

    /// Lets the rounds go on until they would send another request. What is in flight was paid for: it is committed,
    /// and read when somebody wants more.
    async fn drain(&self, running: &mut Running<'_>, progress: &mut Progress) {
        while running.next().await.is_some() {}
        self.count(progress);
    }

    fn count(&self, progress: &mut Progress) {
        progress.requests = self.meter.requests();
        progress.prompt_tokens = self.meter.prompt_tokens();
        progress.completion_tokens = self.meter.completion_tokens();
        progress.cost = self.meter.cost(self.config.budget.price);
        progress.novelty = self.novelty.lock().expect("nobody panics with it").part();
        progress.endpoints = self.backend.status();
    }

    /// Answers one request: from the store when it was ever answered, else from the backend, committed at once.
    async fn ask(
        &self,
        round: u64,
        stage: &'static str,
        ordinal: usize,
        prompt: String,
        mut sampling: Sampling,
    ) -> Result<Answer, NoAnswer> {
        let fatal = |error: crate::store::Error| NoAnswer::Fatal(error.into());
        sampling.seed = request_seed(self.config.seed, round, stage, ordinal);
        let request = NewRequest {
            run_id: self.run_id,
            round,
            stage,
            ordinal: ordinal as u64,
            model: self.backend.model(),
            prompt,
            sampling,
        };
        let key = request.content_key();
        if let Some((id, completion)) = self.store.answer(&key).await.map_err(fatal)? {
            return Ok(Answer { id, completion });
        }
        if self.enough.load(Ordering::Relaxed) {
            return Err(NoAnswer::Ending(Ending::Target));
        }
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(NoAnswer::Ending(Ending::Interrupted));
        }
        if let Some(spent) = self.meter.spent(&self.config.budget) {
            return Err(NoAnswer::Ending(Ending::Budget(spent)));
        }
        self.meter.count_request();
        let start = Instant::now();
        let completion = match self
            .backend
            .complete(request.prompt.clone(), request.sampling.clone())
            .await
        {
            Ok(completion) => completion,
            Err(BackendError::Request(error)) => return Err(NoAnswer::Failed(error)),
            Err(BackendError::Fatal(error)) => return Err(NoAnswer::Fatal(anyhow::anyhow!(error))),
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

    /// Runs one round up to, and not including, its admission.
    async fn round(&self, round: u64) -> Result<Outcome, NoAnswer> {
        if let Some(evolver) = &self.evolver
            && let Some(draw) = Draw::of(evolver.constants, self.config.seed, round)
        {
            return self.evolve(evolver, draw, round).await;
        }
        match &self.method {
            Method::SelfInstruct(method) => self.self_instruct(method, round).await,
            Method::Alpaca(recipe) => self.alpaca(recipe, round).await,
        }
    }

    /// The tasks that the prompt of a round shows, and how many entries of the pool it is judged against first.
    fn deal(&self, round: u64) -> (Vec<usize>, usize) {
        let pool = self.pool.read().expect("no admission panicked");
        let shelf = Shown {
            pool: &pool,
            window: self.config.window,
        };
        let dealt = self
            .dealer
            .lock()
            .expect("no dealing panicked")
            .deal(round, &shelf);
        (dealt, shelf.within(round))
    }

    /// Faults of the answer, rules, then near-duplicates among the first `within` entries of the pool, all texts at
    /// once. One entry each, in order.
    fn judge(&self, texts: &[(&str, Option<Rejection>)], within: usize) -> Vec<Option<Rejection>> {
        let mut verdicts: Vec<Option<Rejection>> = texts
            .iter()
            .map(|(text, fault)| {
                let objection = || self.config.rules.judge_instruction(text).map(Rejection::from);
                fault.clone().or_else(objection)
            })
            .collect();
        let open: Vec<usize> = (0..texts.len()).filter(|&i| verdicts[i].is_none()).collect();
        let texts: Vec<&str> = open.iter().map(|&i| texts[i].0).collect();
        let pool = self.pool.read().expect("no admission panicked");
        let near = pool.index.duplicates(&texts, within);
        for (i, near) in open.into_iter().zip(near) {
            verdicts[i] =
                near.map(|near| near_duplicate(Similar::Task(pool.entries[near.position].id), near.score));
        }
        verdicts
    }
}

type Running<'a> = FuturesOrdered<BoxFuture<'a, Result<Outcome, NoAnswer>>>;

/// Waits for `work` while the rounds go on. A round that is not polled keeps what it holds, a database connection
/// among others, and the admission would wait for it for ever.
async fn keep_polling<T>(
    running: &mut Running<'_>,
    ended: &mut VecDeque<Result<Outcome, NoAnswer>>,
    work: impl Future<Output = T>,
) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            Some(outcome) = running.next() => ended.push_back(outcome),
        }
    }
}

/// A request's answer and its row.
struct Answer {
    id: i64,
    completion: Completion,
}

/// What a round brought, before it is admitted.
#[derive(Default)]
struct Outcome {
    /// Why its first request could not be asked.
    failure: Option<String>,
    candidates: Vec<Developed>,
    /// Which task it rewrote.
    evolution: Option<NewEvolution>,
}

impl Outcome {
    /// Of a round whose first request failed.
    fn failed(error: String) -> Outcome {
        Outcome {
            failure: Some(error),
            ..Outcome::default()
        }
    }
}

/// An instruction with its instances.
struct Developed {
    request_id: i64,
    text: String,
    is_classification: bool,
    rejection: Option<Rejection>,
    instances: Vec<AdmittedInstance>,
}

impl Developed {
    /// An instruction as it was parsed.
    fn new(request_id: i64, text: String, rejection: Option<Rejection>) -> Developed {
        Developed {
            request_id,
            text,
            is_classification: false,
            rejection,
            instances: Vec::new(),
        }
    }
}

impl From<Objection> for Rejection {
    fn from(objection: Objection) -> Self {
        Rejection::new(objection.reason, objection.detail)
    }
}

fn fault_rejection(fault: Fault, found: &str) -> Rejection {
    Rejection::new(fault.reason(), found.to_string())
}

fn near_duplicate(similar: Similar, score: Score) -> Rejection {
    Rejection {
        reason: NEAR_DUPLICATE.into(),
        detail: String::new(),
        nearest: Some((similar, score.f1())),
    }
}
