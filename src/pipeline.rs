//! The arrows: generate → filter → store, and the loop that feeds accepted tasks back into prompts.
//!
//! A *round* is one prompt for tasks and everything that follows from it; what that is, the recipe says
//! (`self_instruct`, `alpaca`); some may rewrite a task instead (`evolution`). Rounds run side by side, up to the window;
//! they are admitted in order, each whole, in one transaction. Round k is prompted from, and first checked against, what
//! was admitted up to round k − window: a function of k, however answers arrive. Every answer is committed before it
//! is read, under a key of everything that shaped it, so nothing is asked twice.

mod admission;
mod alpaca;
mod ask;
pub mod budget;
mod config;
mod evolution;
pub mod futility;
pub mod judge;
pub mod neighbors;
mod novelty;
mod outcome;
mod pool;
mod progress;
pub mod refilter;
mod self_instruct;

use crate::backend::{Backend, Sampling};
use crate::filter::screen::NEAR_DUPLICATE;
use crate::generate::evolution::Draw;
use crate::generate::examples::{Dealer, Shelf};
use crate::generate::recipe::{Alpaca, Recipe};
use crate::generate::round::request_seed;
use crate::store::asked::round::{Rejection, Similar};
use crate::store::{RunStatus, Store};
use admission::Batch;
use anyhow::{Result, anyhow, bail};
use ask::{Answer, Asker};
pub use config::Config;
use config::first_alike;
use evolution::Evolver;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use neighbors::Waiting;
use novelty::Novelty;
use outcome::{Outcome, near_duplicate};
use pool::{Pool, Shown, first_instances, seed_tasks};
pub use progress::{Ending, Progress};
use self_instruct::SelfInstructMethod;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, RwLock};

/// Rounds in a row that may bring nothing at all before the run gives up.
const FRUITLESS_ROUNDS: u64 = 200;
/// Rounds in a row whose first request may fail.
const FAILED_ROUNDS: u64 = 10;

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
    asker: Asker<'a>,
    method: Method<'a>,
    evolver: Option<Evolver<'a>>,
    pool: RwLock<Pool>,
    dealer: Mutex<Dealer>,
    waiting: Mutex<Waiting>,
    novelty: Mutex<Novelty>,
}

/// Grows the dataset to the target, or until a budget is spent, `interrupted` is set, or nothing is left that could be
/// asked before the answers to what a backend [defers](Backend::defers) are there.
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
    let settings = config.to_json()?;
    let since = first_alike(store, &settings, backend.model()).await?;
    let novelty = Novelty::after(store.last_novelties(novelty::SPAN, since).await?);
    // A run that is over for what it brought is over when it is started again.
    if novelty.is_below(config.min_novelty) {
        progress.novelty = novelty.part();
        show(&progress);
        return Ok(Ending::Saturated);
    }
    let fruitless = store.fruitless_rounds(FRUITLESS_ROUNDS, since).await?;
    if fruitless >= FRUITLESS_ROUNDS {
        return Err(nothing_new(store, next, None).await?);
    }
    let run_id = store
        .begin_run(
            "generate",
            &settings,
            Some(config.seed as i64),
            Some(backend.model()),
        )
        .await?;
    let run = Run {
        store,
        run_id,
        config,
        asker: Asker::new(store, run_id, backend, &config.budget, interrupted),
        method: match &config.recipe {
            Recipe::SelfInstruct(recipe) => Method::SelfInstruct(SelfInstructMethod::new(recipe, &seeds)),
            Recipe::Alpaca(recipe) => Method::Alpaca(recipe),
        },
        evolver: config.evolve.as_ref().map(|evolve| Evolver::new(evolve, &seeds)),
        dealer: Mutex::new(Dealer::new(config.recipe.choice(), config.seed, next)),
        waiting: Mutex::new(Waiting::left_over(store, &pool).await?),
        novelty: Mutex::new(novelty),
        pool: RwLock::new(pool),
    };
    let patience = Patience { fruitless, failed: 0 };
    let mut result = run.rounds(&mut next, patience, &mut progress, show).await;
    if let (Ok(Ending::Waiting), Some(stage)) = (&result, run.asker.futility.hopeless()) {
        result = Err(anyhow!(run.asker.futility.message(stage)));
    }
    if result.is_ok()
        && let Err(error) = run.settle_neighbors().await
    {
        result = Err(error);
    }
    let status = match &result {
        Ok(Ending::Target | Ending::Budget(_) | Ending::Saturated | Ending::Waiting) => RunStatus::Done,
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
        mut patience: Patience,
        progress: &mut Progress,
        show: &mut dyn FnMut(&Progress),
    ) -> Result<Ending> {
        let mut running: Running<'_> = FuturesOrdered::new();
        for round in *next..*next + self.config.window {
            running.push_back(self.round(round).boxed());
        }
        // Rounds that ended while earlier ones were admitted.
        let mut ended = VecDeque::new();
        loop {
            let mut batch = Batch::new(self.config.threshold);
            let mut stop = None;
            while stop.is_none() && !batch.is_full() {
                let outcome = match ended.pop_front() {
                    Some(outcome) => outcome,
                    None if batch.len() == 0 => running
                        .next()
                        .await
                        .expect("as many rounds run as the window is wide"),
                    None => match running.next().now_or_never().flatten() {
                        Some(outcome) => outcome,
                        None => break,
                    },
                };
                stop = match outcome {
                    Ok(outcome) => {
                        let failure = outcome.failure.clone();
                        let round = *next + batch.len() as u64;
                        let accepted = self.decide(round, outcome, &mut batch, progress);
                        self.stop_after(failure, accepted, &mut patience, progress)
                    }
                    Err(NoAnswer::Ending(ending)) => Some(Stop::Drained(ending)),
                    Err(NoAnswer::Fatal(error)) => Some(Stop::Failed(error)),
                    Err(NoAnswer::Failed(error)) => Some(Stop::Failed(anyhow!(error))),
                };
            }
            let count = batch.len() as u64;
            keep_polling(&mut running, &mut ended, self.admit(batch)).await?;
            if self.waiting.lock().expect("no search panicked").is_full() {
                keep_polling(&mut running, &mut ended, self.settle_neighbors()).await?;
            }
            self.count(progress);
            show(progress);
            let goes_on = matches!(stop, None | Some(Stop::Drained(Ending::Waiting)));
            for round in (*next..*next + count).filter(|_| goes_on) {
                running.push_back(self.round(round + self.config.window).boxed());
            }
            *next += count;
            match stop {
                Some(Stop::Drained(ending)) => {
                    if matches!(ending, Ending::Target | Ending::Saturated) {
                        self.asker.enough.store(true, Ordering::Relaxed);
                    }
                    self.drain(&mut running, progress).await;
                    show(progress);
                    return Ok(ending);
                }
                Some(Stop::Failed(error)) => return Err(error),
                Some(Stop::Fruitless) => {
                    return Err(nothing_new(self.store, *next, self.asker.futility.told()).await?);
                }
                None => {}
            }
        }
    }

    /// Whether a round was the last: nothing is decided on after it, however many have ended.
    fn stop_after(
        &self,
        failure: Option<String>,
        accepted: u64,
        patience: &mut Patience,
        progress: &Progress,
    ) -> Option<Stop> {
        patience.failed = if failure.is_some() { patience.failed + 1 } else { 0 };
        patience.fruitless = if accepted == 0 { patience.fruitless + 1 } else { 0 };
        if let (true, Some(failure)) = (patience.failed >= FAILED_ROUNDS, failure) {
            return Some(Stop::Failed(anyhow!(
                "{} rounds in a row could not be asked for: {}",
                patience.failed,
                self.asker.futility.told().unwrap_or(failure)
            )));
        }
        if progress.accepted >= progress.target {
            return Some(Stop::Drained(Ending::Target));
        }
        let novelty = self.novelty.lock().expect("nobody panics with it");
        if novelty.is_below(self.config.min_novelty) {
            return Some(Stop::Drained(Ending::Saturated));
        }
        (patience.fruitless >= FRUITLESS_ROUNDS).then_some(Stop::Fruitless)
    }

    /// Lets the rounds go on until they would send another request. What is in flight was paid for: it is committed,
    /// and read when somebody wants more.
    async fn drain(&self, running: &mut Running<'_>, progress: &mut Progress) {
        while running.next().await.is_some() {}
        self.count(progress);
        progress.waiting = self.asker.waiting();
    }

    fn count(&self, progress: &mut Progress) {
        let meter = &self.asker.meter;
        progress.requests = meter.requests();
        progress.prompt_tokens = meter.prompt_tokens();
        progress.completion_tokens = meter.completion_tokens();
        progress.cost = meter.cost(self.config.budget.price);
        progress.novelty = self.novelty.lock().expect("nobody panics with it").part();
        progress.endpoints = self.asker.backend.status();
        progress.complaints = self.asker.futility.said();
    }

    /// Answers one request of a round; its sampling seed is a function of its place.
    async fn ask(
        &self,
        round: u64,
        stage: &'static str,
        ordinal: usize,
        prompt: String,
        mut sampling: Sampling,
    ) -> Result<Answer<'_>, NoAnswer> {
        sampling.seed = request_seed(self.config.seed, round, stage, ordinal);
        self.asker
            .ask(round, stage, ordinal as u64, prompt, sampling)
            .await
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

/// Why no round is decided on any more.
enum Stop {
    /// The run is over when what is in flight is answered.
    Drained(Ending),
    /// The run failed.
    Failed(anyhow::Error),
    /// Too many rounds in a row brought nothing.
    Fruitless,
}

/// That the rounds before this one brought nothing, and why: what spoke against their candidates, and what was said about
/// requests without an answer that can be used.
async fn nothing_new(store: &Store, next: u64, told: Option<String>) -> Result<anyhow::Error> {
    let reasons = store
        .rejections_since(next.saturating_sub(FRUITLESS_ROUNDS))
        .await?;
    let repeats = reasons
        .first()
        .is_some_and(|(reason, _)| reason == NEAR_DUPLICATE);
    let mut why: Vec<String> = reasons
        .iter()
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    if why.is_empty() {
        why.push("there was no candidate".to_string());
    }
    let mut error = format!(
        "{FRUITLESS_ROUNDS} rounds in a row brought no new task: {}",
        why.join(", ")
    );
    if let Some(told) = told {
        error.push_str(&format!("; requests in vain: {told}"));
    }
    error.push_str(match repeats {
        true => "\nhint: the model repeats what is there; give more seeds, another --seed, or take a larger model",
        false => "\nhint: `select reason, detail, instruction from rejection` shows what it wrote; another model, recipe or --seed begins anew",
    });
    Ok(anyhow!(error))
}

/// Rounds in a row that went wrong.
#[derive(Default)]
struct Patience {
    fruitless: u64,
    failed: u64,
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
