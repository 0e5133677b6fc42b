//! `ewe eval`: a model answers the questions of suites, and its answers are scored.
//!
//! Every answer is committed before it is used, so a run that was killed goes on, and nothing is
//! asked twice. Models are opened one after another: the evaluated one for its answers, the same
//! for the likelihood of references, then a judge. With batch files, a run ends where requests wait
//! for their results, which the next run reads.
//!
//! - [`suites`] reads; [`models`]: what is needed of models; [`scoring`], with [`rouge`]: the
//!   scores of an answer; [`contamination`]: items in the training rows; [`result`]: what is
//!   written.

pub mod contamination;
pub mod models;
pub mod result;
pub mod rouge;
pub mod scoring;
pub mod suites;

use std::cell::RefCell;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use serde_json::json;

use super::Ending;
use super::answers::{AnswerRequest, Answers, answers};
use super::ask::Asker;
use super::batch::{self, BatchSummary};
use super::progress;
use crate::backend::{Backend, Sampling};
use crate::job::eval::EvalJob;
use crate::prompt::rating;
use crate::store::Store;
use crate::suite::grade;
use crate::suite::item::{Item, Suite, SuiteKind};
use contamination::TrainingData;
use models::{EvalModels, EvalRole, LikelihoodRow};
use result::{Evaluated, Searched, SuiteResult};

/// The stage of requests for answers.
const ANSWER: &str = "eval";
/// The stage of requests to the judge.
const JUDGE: &str = "eval_judge";

/// What a run is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvalPhase {
    /// The model answers.
    Answers,
    /// The likelihood of references is computed.
    Likelihood,
    /// The judge grades.
    Judge,
}

impl EvalPhase {
    /// The name in progress, and the noun of what is counted.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            EvalPhase::Answers => ("eval", "answer"),
            EvalPhase::Likelihood => ("eval likelihood", "reference"),
            EvalPhase::Judge => ("eval judge", "grade"),
        }
    }
}

/// What an evaluation works with.
pub struct EvalRequest<'a> {
    /// What is asked.
    pub job: &'a EvalJob,
    /// The suites, as [`suites::read`] returns them.
    pub suites: &'a [Suite],
    /// Opens the models.
    pub models: &'a dyn EvalModels,
    /// Set when the run is to end.
    pub interrupted: &'a AtomicBool,
    /// Whether to say nothing.
    pub quiet: bool,
}

/// What came of a run.
#[derive(Debug)]
pub struct EvalOutcome<'a> {
    /// Why it ended.
    pub ending: Ending,
    /// The result, if the run got to its end ([`Ending::Target`]).
    pub evaluated: Option<Evaluated<'a>>,
    /// The result of batch files, of the last model that is asked through them.
    pub batch: Option<BatchSummary>,
}

/// Evaluates a model. `show` gets the phase, how much of it is done, and how much there is.
///
/// # Errors
///
/// If a model cannot be opened or does not answer, training data cannot be read, or the store
/// fails.
pub async fn evaluate<'a>(
    store: &Store,
    request: &EvalRequest<'a>,
    show: &mut dyn FnMut(EvalPhase, usize, usize),
) -> Result<EvalOutcome<'a>> {
    // Before the model is asked: training rows that cannot be read are found at once.
    let training = training_data(store, request).await?;
    let backend = request.models.open(EvalRole::Evaluated).await?;
    let config = config(request);
    let model = backend.model().to_owned();
    let run_id = store
        .begin_run("eval", &config, Some(request.job.seed as i64), Some(&model))
        .await?;
    let run = Run {
        store,
        request,
        run_id,
        batch: RefCell::default(),
    };
    let outcome = run.all(backend, training.as_ref(), show).await;
    let finished = progress::finish(store, run_id, outcome, |(ending, _)| ending.status());
    let (ending, evaluated) = finished.await?;
    Ok(EvalOutcome {
        ending,
        evaluated,
        batch: run.batch.into_inner(),
    })
}

/// The configuration of the run.
fn config(request: &EvalRequest<'_>) -> serde_json::Value {
    let job = request.job;
    let suites: Vec<String> = job.suites.iter().map(ToString::to_string).collect();
    json!({
        "suites": suites, "superni_examples": job.superni_examples, "superni_instances": job.superni_instances,
        "punkt": job.punkt.as_ref().map(|dir| dir.display().to_string()),
        "limit": job.limit, "max_tokens": job.max_tokens, "temperature": job.temperature, "judge": job.judge,
        "judge_tokens": job.judge_tokens, "budget": job.budget, "training_data": job.training_data,
        "out": job.out,
    })
}

/// The rows that the model may have been trained on: those of the files if there are any, else of
/// the dataset.
async fn training_data(store: &Store, request: &EvalRequest<'_>) -> Result<Option<TrainingData>> {
    let job = request.job;
    if !job.training_data.is_empty() {
        let mut data = TrainingData::new();
        data.add_files(&job.training_data, request.quiet)?;
        return Ok(Some(data));
    }
    if job.db.is_none() {
        return Ok(None);
    }
    let (held_out, rows) = contamination::sides(store).await?;
    Ok(Some(TrainingData::of_dataset(&rows, &held_out)))
}

/// One run.
struct Run<'r, 'a> {
    store: &'r Store,
    request: &'r EvalRequest<'a>,
    run_id: i64,
    batch: RefCell<Option<BatchSummary>>,
}

/// An answer with the item that it is to, and the number of its suite.
struct Place<'a> {
    suite: usize,
    item: &'a Item,
}

impl<'a> Run<'_, 'a> {
    /// Asks the models in turn, and computes and stores the result.
    async fn all(
        &self,
        backend: Box<dyn Backend>,
        training: Option<&TrainingData>,
        show: &mut dyn FnMut(EvalPhase, usize, usize),
    ) -> Result<(Ending, Option<Evaluated<'a>>)> {
        let job = self.request.job;
        let suites: &'a [Suite] = self.request.suites;
        let places: Vec<Place<'_>> = (0..suites.len())
            .flat_map(|suite| suites[suite].items.iter().map(move |item| Place { suite, item }))
            .collect();
        let requests: Vec<AnswerRequest> = places.iter().map(|place| self.question(place)).collect();
        let model = backend.model().to_owned();
        let answers = self
            .ask(backend.as_ref(), EvalPhase::Answers, &requests, show)
            .await?;
        // Its memory is needed by the next model.
        drop(backend);
        let (ending, answers) = answers;
        if ending != Ending::Target {
            return Ok((ending, None));
        }
        let mut rest = answers.into_iter();
        let mut results: Vec<SuiteResult<'a>> = suites
            .iter()
            .map(|suite| {
                let answers = rest.by_ref().take(suite.items.len()).collect();
                SuiteResult::of(suite, answers, job.programs)
            })
            .collect();
        let has_likelihood = self.add_likelihood(&mut results, show)?;
        let judge = match &job.judge {
            None => None,
            Some(_) => match self.add_grades(&mut results, show).await? {
                Ok(judge) => judge,
                Err(ending) => return Ok((ending, None)),
            },
        };
        if let Some(training) = training {
            results.iter_mut().for_each(|result| result.search(training));
        }
        let searched = training.map(|training| Searched {
            tasks: training.tasks,
            files: job.training_data.clone(),
        });
        let train_run_id = self.train_run().await?;
        let evaluated = Evaluated::of(job, model, results, judge, searched, has_likelihood, train_run_id);
        if job.db.is_some() {
            self.store
                .add_evaluations(&evaluated.to_store(self.run_id))
                .await?;
        }
        Ok((Ending::Target, Some(evaluated)))
    }

    /// The request of an item.
    fn question(&self, place: &Place<'_>) -> AnswerRequest {
        let job = self.request.job;
        let kind = self.request.suites[place.suite].spec.kind;
        AnswerRequest {
            key: format!("{}: {}", kind.as_str(), place.item.key),
            question: place.item.question.clone(),
            sampling: Sampling {
                max_tokens: job.max_tokens.unwrap_or(kind.max_tokens()),
                temperature: job.temperature,
                seed: job.seed,
                ..Sampling::default()
            },
        }
    }

    /// Sends requests to a model. Those that wait for their results go into the batch file.
    async fn ask(
        &self,
        backend: &dyn Backend,
        phase: EvalPhase,
        requests: &[AnswerRequest],
        show: &mut dyn FnMut(EvalPhase, usize, usize),
    ) -> Result<(Ending, Answers)> {
        let EvalRequest { job, interrupted, .. } = *self.request;
        let asker = Asker::new(self.store, self.run_id, backend, &job.budget, interrupted);
        let (stage, role) = match phase {
            EvalPhase::Judge => (JUDGE, EvalRole::Judge),
            EvalPhase::Answers | EvalPhase::Likelihood => (ANSWER, EvalRole::Evaluated),
        };
        show(phase, 0, requests.len());
        let mut show = |done| show(phase, done, requests.len());
        let (mut ending, answers) = answers(&asker, stage, requests, &mut show)
            .await
            .with_context(|| backend.model().to_owned())?;
        if let (Some(files), true) = (self.request.models.batch(role), ending != Ending::Interrupted) {
            let waiting = asker.waiting();
            let summary = batch::finish(self.store, files, &mut ending, &waiting, &job.budget).await?;
            self.batch.replace(Some(summary));
        }
        Ok((ending, answers))
    }

    /// Adds the likelihood of the first reference to the items of suites that have it. Returns
    /// whether the model tells.
    fn add_likelihood(
        &self,
        results: &mut [SuiteResult<'a>],
        show: &mut dyn FnMut(EvalPhase, usize, usize),
    ) -> Result<bool> {
        let wanted = |kind| matches!(kind, SuiteKind::Instructions | SuiteKind::HeldOut);
        let mut places = Vec::new();
        let mut rows = Vec::new();
        for (number, result) in results
            .iter()
            .enumerate()
            .filter(|(_, result)| wanted(result.suite.spec.kind))
        {
            for (at, item) in result.suite.items.iter().enumerate() {
                if let Some(reference) = item.references.first() {
                    places.push((number, at));
                    rows.push(LikelihoodRow {
                        question: &item.question,
                        reference,
                    });
                }
            }
        }
        if rows.is_empty() {
            return Ok(true);
        }
        let total = rows.len();
        let mut show = |done| show(EvalPhase::Likelihood, done, total);
        let Some(losses) = self.request.models.likelihood(&rows, &mut show) else {
            return Ok(false);
        };
        for ((number, at), loss) in places.into_iter().zip(losses?) {
            scoring::add_loss(&mut results[number].rows[at].scores, loss);
        }
        Ok(true)
    }

    /// Has the judge grade the answers of suites that no program scores. Returns its name, or why
    /// the run ends before its last grade.
    async fn add_grades(
        &self,
        results: &mut [SuiteResult<'a>],
        show: &mut dyn FnMut(EvalPhase, usize, usize),
    ) -> Result<std::result::Result<Option<String>, Ending>> {
        let graded = |kind| matches!(kind, SuiteKind::Instructions | SuiteKind::HeldOut);
        let (mut places, mut requests) = (Vec::new(), Vec::new());
        for (number, result) in results
            .iter()
            .enumerate()
            .filter(|(_, result)| graded(result.suite.spec.kind))
        {
            for (at, (item, row)) in result.suite.items.iter().zip(&result.rows).enumerate() {
                if let Some(answer) = &row.answer {
                    let reference = item.references.first().map(String::as_str);
                    places.push((number, at));
                    requests.push(AnswerRequest {
                        key: format!("grade of {}", item.key),
                        question: rating::question(&item.question, reference, &answer.text),
                        sampling: Sampling {
                            max_tokens: self.request.job.judge_tokens,
                            temperature: 0.0,
                            stop: vec![rating::STOP.to_owned()],
                            ..Sampling::default()
                        },
                    });
                }
            }
        }
        if requests.is_empty() {
            return Ok(Ok(None));
        }
        let backend = self.request.models.open(EvalRole::Judge).await?;
        let (ending, replies) = self
            .ask(backend.as_ref(), EvalPhase::Judge, &requests, show)
            .await?;
        if ending != Ending::Target {
            return Ok(Err(ending));
        }
        for ((number, at), reply) in places.into_iter().zip(replies) {
            let grade = match reply {
                Some(Ok(reply)) => grade::read(&reply.text, reply.finish_reason),
                Some(Err(why)) => Err(why),
                None => Err("it was not asked".to_owned()),
            };
            let scores = &mut results[number].rows[at].scores;
            match grade {
                Ok(grade) => scores.rating = Some(grade),
                Err(why) => scores.remarks.push(format!("no grade: {why}")),
            }
        }
        Ok(Ok(Some(backend.model().to_owned())))
    }

    /// The run of this dataset that trained the model.
    async fn train_run(&self) -> Result<Option<i64>> {
        let job = self.request.job;
        if job.db.is_none() {
            return Ok(None);
        }
        for dir in &job.trained {
            let out = std::path::absolute(dir)?.display().to_string();
            if let Some(id) = self.store.training_run_into(&out).await? {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
}
