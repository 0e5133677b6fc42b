//! Connects the stages: generate → filter → store, and back from accepted tasks to prompts.
//!
//! A *round* is one prompt for tasks and everything that follows from it. The recipe decides what
//! that is (`self_instruct`, `alpaca`); some rounds may rewrite a task instead (`evolution`), or
//! continue one (`turns`). Up to `window` rounds run side by side. They are admitted in order, each
//! whole, in one transaction. Round k is prompted from the tasks admitted up to round k − window,
//! and first checked against them: a function of k, in whatever order responses arrive. Every
//! response is committed before it is parsed, under a key of everything that shaped it, so no
//! request is sent twice.
//!
//! - [`commands`]: `ewe generate` and `ewe judge` from start to end; [`batch`]: their batch files.
//! - [`grow`], with `admission`, `pool`, `novelty`, [`budget`] and [`futility`]: rounds;
//!   `heartbeat`: what is shown while none ends.
//! - [`documents`]: files into passages, and rounds that make tasks from them.
//! - [`own`]: rounds of a user's recipe; what it would ask and read.
//! - `ask`: one request; `worth`: whether its response is useful; [`answers`]: many questions.
//! - [`judge`]: the quality pass; [`screening`]: the filter over a file or dataset; [`neighbors`].
//! - [`split`]: tasks held out for evaluation, and the rows to train on.
//! - [`evaluate`]: a model on suites; [`compare`]: two models and a judge of their answers.
//! - [`seeds`], [`import`], [`export`]: files in and out; [`merge_db`]: datasets made into one.

mod admission;
mod alpaca;
pub mod answers;
mod ask;
pub mod batch;
pub mod budget;
pub mod commands;
pub mod compare;
mod config;
mod dead_ends;
pub mod documents;
pub mod evaluate;
mod evolution;
pub mod export;
pub mod futility;
mod heartbeat;
pub mod import;
pub mod judge;
pub mod merge_db;
pub mod neighbors;
mod novelty;
mod outcome;
pub mod own;
mod past_runs;
mod pool;
mod progress;
pub mod screening;
pub mod seeds;
mod self_instruct;
pub mod split;
mod turns;
mod worth;

use crate::backend::{Backend, Sampling};
use crate::generate::evolution::Draw;
use crate::generate::examples::{ExamplePool, ExampleSampler};
use crate::generate::recipe::{Alpaca, Recipe};
use crate::generate::round::request_seed;
use crate::store::Store;
use crate::task::{Task, TaskRef, Verdict};
use crate::validator::Validators;
use admission::AdmissionBatch;
use anyhow::{Result, anyhow, bail};
use ask::{Asker, Response};
pub use config::GenerateConfig;
use dead_ends::{nothing_new, without_seeds};
use documents::DocumentMethod;
use evolution::Evolver;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use neighbors::NeighborQueue;
use novelty::Novelty;
use outcome::RoundOutcome;
use own::OwnMethod;
use past_runs::PastRuns;
use pool::{Pool, ShownPool, first_instances, seed_tasks};
pub use progress::{Ending, GenerateProgress};
use self_instruct::SelfInstructMethod;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, RwLock};
use turns::Continuer;

/// Rounds in a row without a new task that end the run.
const FRUITLESS_ROUNDS: u64 = 200;
/// Rounds in a row whose first request failed that end the run.
const FAILED_ROUNDS: u64 = 10;

/// Why a request has no response.
enum NoAnswer {
    /// The request failed, but others may succeed.
    Failed(String),
    /// The run is ending.
    Ending(Ending),
    /// The run cannot go on.
    Fatal(anyhow::Error),
}

/// The recipe of the rounds.
enum RoundMethod<'a> {
    SelfInstruct(SelfInstructMethod<'a>),
    Alpaca(&'a Alpaca),
    Documents(DocumentMethod<'a>),
    Own(OwnMethod<'a>),
}

/// The fewest rounds that are asked for in a file. A second file takes another day.
const FEWEST_DEFERRED: u64 = 4;

/// A run of `generate`: all that its rounds share. Only admissions change the pool, while no round
/// is polled.
struct GenerateRun<'a> {
    store: &'a Store,
    run_id: i64,
    config: &'a GenerateConfig,
    asker: Asker<'a>,
    method: RoundMethod<'a>,
    evolver: Option<Evolver<'a>>,
    continuer: Option<Continuer<'a>>,
    pool: RwLock<Pool>,
    examples: Mutex<ExampleSampler>,
    waiting: Mutex<NeighborQueue>,
    novelty: Mutex<Novelty>,
    validators: Option<Validators>,
}

/// Grows the dataset to the target, or until a limit of the budget is reached, `interrupted` is
/// set, or all further requests depend on answers that the backend [defers](Backend::defers).
///
/// `show` is called after each admission.
pub async fn grow(
    store: &Store,
    config: &GenerateConfig,
    backend: &dyn Backend,
    interrupted: &AtomicBool,
    show: &mut dyn FnMut(&GenerateProgress),
) -> Result<(Ending, GenerateProgress)> {
    let seeds = seed_tasks(store).await?;
    if seeds.is_empty() {
        bail!("{}: {}", store.path().display(), without_seeds(store).await?);
    }
    own::refuse_changed(store, config).await?;
    admission::try_validator(config, &seeds).await?;
    let pool = load_pool(store, config).await?;
    let method = load_method(store, config, &seeds).await?;
    let mut progress = GenerateProgress {
        target: config.target,
        accepted: store.accepted_machine_tasks().await?,
        ..GenerateProgress::default()
    };
    if progress.accepted >= config.target {
        return Ok((Ending::Target, progress));
    }
    let settings = config.to_json()?;
    let past = PastRuns::load(store, &settings, backend.model()).await?;
    // A run that ended for its novelty or its fruitless rounds also ends when it is started again.
    if past.novelty.is_below(config.min_novelty) {
        progress.novelty = past.novelty.share();
        show(&progress);
        return Ok((Ending::Saturated, progress));
    }
    if past.fruitless >= FRUITLESS_ROUNDS {
        return Err(nothing_new(store, past.next_round, None).await?);
    }
    let run_id = store
        .begin_run(
            "generate",
            &settings,
            Some(config.seed as i64),
            Some(backend.model()),
        )
        .await?;
    let asker = Asker::new(store, run_id, backend, &config.budget, interrupted);
    let PastRuns {
        mut next_round,
        fruitless,
        novelty,
    } = past;
    let run = GenerateRun::new(config, asker, &seeds, (pool, method), next_round, novelty).await?;
    let patience = Patience { fruitless, failed: 0 };
    let result = run.rounds(&mut next_round, patience, &mut progress, show).await;
    let ending = run.finish(result).await?;
    Ok((ending, progress))
}

/// Loads all tasks, with their instances if the prompts of the recipe show them.
async fn load_pool(store: &Store, config: &GenerateConfig) -> Result<Pool> {
    let tasks = store.pool().await?;
    Ok(match &config.recipe {
        Recipe::SelfInstruct(_) => Pool::new(tasks, config.threshold),
        Recipe::Alpaca(_) | Recipe::Grounded(_) | Recipe::Backtranslation(_) | Recipe::File(_) => {
            Pool::with_instances(tasks, config.threshold, first_instances(store).await?)
        }
    })
}

/// Prepares the recipe: the parts of its prompts that are the same in all rounds, or its passages.
async fn load_method<'a>(
    store: &Store,
    config: &'a GenerateConfig,
    seeds: &[Task],
) -> Result<RoundMethod<'a>> {
    Ok(match &config.recipe {
        Recipe::SelfInstruct(recipe) => RoundMethod::SelfInstruct(SelfInstructMethod::new(recipe, seeds)),
        Recipe::Alpaca(recipe) => RoundMethod::Alpaca(recipe),
        Recipe::Grounded(recipe) => {
            RoundMethod::Documents(DocumentMethod::load(store, recipe, false, config.seed).await?)
        }
        Recipe::Backtranslation(recipe) => {
            RoundMethod::Documents(DocumentMethod::load(store, recipe, true, config.seed).await?)
        }
        Recipe::File(recipe) => RoundMethod::Own(OwnMethod::load(store, recipe, config.seed).await?),
    })
}

impl<'a> GenerateRun<'a> {
    /// Prepares a run that continues with the round `next_round`.
    async fn new(
        config: &'a GenerateConfig,
        asker: Asker<'a>,
        seeds: &[Task],
        (pool, method): (Pool, RoundMethod<'a>),
        next_round: u64,
        novelty: Novelty,
    ) -> Result<GenerateRun<'a>> {
        let sampler = ExampleSampler::new(config.recipe.example_sampling(), config.seed, next_round)
            .of_part(config.part);
        let store = asker.store;
        Ok(GenerateRun {
            store,
            run_id: asker.run_id,
            config,
            asker,
            method,
            evolver: config.evolve.as_ref().map(|evolve| Evolver::new(evolve, seeds)),
            continuer: Continuer::load(store, config, next_round).await?,
            examples: Mutex::new(sampler),
            waiting: Mutex::new(NeighborQueue::left_over(store, &pool).await?),
            novelty: Mutex::new(novelty),
            validators: config.validator.as_ref().map(Validators::new),
            pool: RwLock::new(pool),
        })
    }

    /// Finds the remaining neighbors and records how the run ended.
    async fn finish(&self, mut result: Result<Ending>) -> Result<Ending> {
        if let (Ok(Ending::Waiting), Some(stage)) = (&result, self.asker.futility.hopeless()) {
            result = Err(anyhow!(self.asker.futility.message(stage)));
        }
        if result.is_ok()
            && let Err(error) = self.settle_neighbors().await
        {
            result = Err(error);
        }
        progress::finish(self.store, self.run_id, result, |ending| ending.status()).await
    }

    /// Returns how many rounds run side by side: the window, or in a file as many as are likely to
    /// bring the missing tasks if every second one is taken. Requests in a file are all answered
    /// and paid for, needed or not. What a round is made from depends on the window alone.
    fn ahead(&self, accepted: u64) -> u64 {
        let window = self.config.window;
        if !self.asker.backend.defers() {
            return window;
        }
        let asked_for = 2 * self.config.target.saturating_sub(accepted);
        let needed = asked_for.div_ceil(self.config.recipe.tasks_per_round());
        needed.max(FEWEST_DEFERRED).min(window)
    }

    /// Runs rounds and admits them, until the run ends.
    async fn rounds(
        &self,
        next: &mut u64,
        mut patience: Patience,
        progress: &mut GenerateProgress,
        show: &mut dyn FnMut(&GenerateProgress),
    ) -> Result<Ending> {
        let mut running: Running<'_> = FuturesOrdered::new();
        let mut begun = *next + self.ahead(progress.accepted);
        for round in *next..begun {
            running.push_back(self.round(round).boxed());
        }
        // Rounds that ended while earlier ones were admitted.
        let mut ended = VecDeque::new();
        loop {
            let mut batch = AdmissionBatch::new(self.config.threshold);
            let mut stop = None;
            while stop.is_none() && !batch.is_full() {
                let outcome = match ended.pop_front() {
                    Some(outcome) => outcome,
                    None if batch.len() == 0 => self.next_outcome(&mut running, progress, show).await,
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
            *next += count;
            let end = *next + self.ahead(progress.accepted);
            for round in (begun..end).filter(|_| goes_on) {
                running.push_back(self.round(round).boxed());
            }
            begun = begun.max(end);
            match stop {
                Some(Stop::Drained(ending)) => {
                    if matches!(ending, Ending::Target | Ending::Saturated) {
                        self.asker.enough.store(true, Ordering::Relaxed);
                    }
                    self.drain(&mut running, end, progress).await;
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

    /// Whether a round was the last one that is decided on, however many others have ended.
    fn stop_after(
        &self,
        failure: Option<String>,
        accepted: u64,
        patience: &mut Patience,
        progress: &GenerateProgress,
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

    /// Runs the rounds on until they would send another request. Requests in flight were paid for:
    /// their responses are committed, and parsed when the run is continued. Of those that were
    /// deferred, rounds before `end` are still needed.
    async fn drain(&self, running: &mut Running<'_>, end: u64, progress: &mut GenerateProgress) {
        while running.next().await.is_some() {}
        self.count(progress);
        progress.waiting = self.asker.waiting_before(end);
    }

    /// Returns the response to a request of a round. The sampling seed is a function of its place.
    async fn ask(
        &self,
        round: u64,
        stage: &'static str,
        ordinal: usize,
        prompt: String,
        mut sampling: Sampling,
    ) -> Result<Response<'_>, NoAnswer> {
        sampling.seed = request_seed(self.config.seed, self.config.part.place(round), stage, ordinal);
        self.asker
            .ask(round, stage, ordinal as u64, prompt, sampling)
            .await
    }

    /// Runs a round up to its admission.
    async fn round(&self, round: u64) -> Result<RoundOutcome, NoAnswer> {
        let outcome = self.unvalidated_round(round).await?;
        self.validated(outcome, round).await
    }

    /// Runs a round up to what a validator says of it.
    async fn unvalidated_round(&self, round: u64) -> Result<RoundOutcome, NoAnswer> {
        if let Some(evolver) = &self.evolver
            && let Some(draw) = Draw::of(evolver.constants, self.config.seed, self.config.part.place(round))
        {
            return self.evolve(evolver, draw, round).await;
        }
        if let Some(continuer) = &self.continuer
            && let Some(dealt) = self.continuation(continuer, round)
        {
            return self.continue_task(continuer, dealt, round).await;
        }
        match &self.method {
            RoundMethod::SelfInstruct(method) => self.self_instruct(method, round).await,
            RoundMethod::Alpaca(recipe) => self.alpaca(recipe, round).await,
            RoundMethod::Documents(method) => self.round_from_documents(method, round).await,
            RoundMethod::Own(method) => self.own_recipe(method, round).await,
        }
    }

    /// Samples the tasks that the prompt of a round shows. Also returns how many tasks of the pool
    /// the round is compared with at first.
    fn sample_examples(&self, round: u64) -> (Vec<usize>, usize) {
        let pool = self.pool.read().expect("no admission panicked");
        let shown = ShownPool {
            pool: &pool,
            window: self.config.window,
        };
        let sampled = self
            .examples
            .lock()
            .expect("no sampling panicked")
            .sample(round, &shown);
        (sampled, shown.within(round))
    }

    /// Checks the instructions of a response, given with their verdicts so far: against the rules,
    /// then for near-duplicates among the first `within` tasks of the pool, all texts at once.
    /// Returns a verdict per text, in order.
    fn check_instructions(&self, texts: &[(&str, Verdict)], within: usize) -> Vec<Verdict> {
        let mut verdicts: Vec<Verdict> = texts
            .iter()
            .map(|(text, verdict)| {
                let verdict = verdict.clone();
                verdict.or_else(|| self.config.rules.check_instruction(text))
            })
            .collect();
        let open: Vec<usize> = (0..texts.len()).filter(|&i| verdicts[i].is_accepted()).collect();
        let texts: Vec<&str> = open.iter().map(|&i| texts[i].0).collect();
        let pool = self.pool.read().expect("no admission panicked");
        let near = pool.index.duplicates(&texts, within);
        for (i, near) in open.into_iter().zip(near) {
            if let Some(near) = near {
                let task = TaskRef::Stored(pool.entries[near.position].id);
                verdicts[i] = Verdict::near_duplicate(task, near.score.f1());
            }
        }
        verdicts
    }
}

/// Why no more rounds are decided on.
enum Stop {
    /// The run ends after the requests in flight.
    Drained(Ending),
    /// The run failed.
    Failed(anyhow::Error),
    /// Too many rounds in a row had no new task.
    Fruitless,
}

/// Numbers of last rounds in a row that went wrong.
#[derive(Default)]
struct Patience {
    /// Rounds without a new task.
    fruitless: u64,
    /// Rounds whose first request failed.
    failed: u64,
}

type Running<'a> = FuturesOrdered<BoxFuture<'a, Result<RoundOutcome, NoAnswer>>>;

/// Waits for `work` while the rounds go on. A round that is not polled keeps its resources, such as
/// a database connection, and the admission would wait for it forever.
async fn keep_polling<T>(
    running: &mut Running<'_>,
    ended: &mut VecDeque<Result<RoundOutcome, NoAnswer>>,
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
