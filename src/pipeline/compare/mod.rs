//! Two models answer the same prompts, one after the other; then a judge is examined and compares
//! their answers in both orders. Every answer is committed before it is used, so a run that was
//! killed goes on, and nothing is asked twice.
//!
//! - [`prompts`]: what both models are asked.
//! - `result`: the result as JSON.

pub mod prompts;
mod result;

use super::Ending;
use super::answers::{Answer, AnswerRequest, Answers, answers};
use super::ask::Asker;
use super::progress;
use crate::backend::{Backend, FinishReason, Sampling};
use crate::choice::{JudgedBy, NoLikelihood};
use crate::compare::exam::{self, ExamFigures};
use crate::compare::figures::{Figures, Pair, PeopleFigures};
use crate::compare::item::Item;
use crate::compare::reply;
use crate::compare::verdict::{Judged, Judging, Reply};
use crate::job::compare::{CompareJob, ModelChoice};
use crate::prompt::compare;
use crate::store::asked::comparison::{NewComparison, NewPair, Vote};
use crate::store::{RunStatus, Store};
use anyhow::{Context, Result, bail};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

/// The stage of requests for answers.
const ANSWER: &str = "compare";
/// The stage of requests to the judge.
const JUDGE: &str = "compare_judge";

/// A model's part in a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The first model.
    A,
    /// The second model.
    B,
    /// The judge of both.
    Judge,
}

/// Opens models. Only one is open at a time.
pub trait Models {
    /// Opens a model for questions.
    fn open<'a>(&'a self, choice: &'a ModelChoice, role: Role) -> BoxFuture<'a, Result<Box<dyn Backend>>>;
}

impl Role {
    /// The name in progress and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::A => "a",
            Role::B => "b",
            Role::Judge => "judge",
        }
    }
}

/// What a comparison works with.
pub struct CompareRequest<'a> {
    /// What is compared.
    pub job: &'a CompareJob,
    /// The prompts, at least one.
    pub items: &'a [Item],
    /// Opens the models.
    pub models: &'a dyn Models,
    /// Set when the run is to end.
    pub interrupted: &'a AtomicBool,
}

/// A judge, and how it did.
#[derive(Debug, Clone)]
pub struct JudgeResult {
    /// Its name.
    pub name: String,
    /// How it did in its exam; none if no item has a reference.
    pub exam: Option<ExamFigures>,
    /// Why replies could not be used, most frequent first.
    pub problems: Vec<(u64, String)>,
}

/// The result of a comparison.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// The name of model a.
    pub model_a: String,
    /// The name of model b.
    pub model_b: String,
    /// The judge, if there was one.
    pub judge: Option<JudgeResult>,
    /// The figures.
    pub figures: Figures,
    /// What people said so far.
    pub people: PeopleFigures,
    /// What whoever reads the figures should know.
    pub remarks: Vec<String>,
    /// The pairs, as JSON for `--answers`.
    pub pairs: Vec<Value>,
    /// The whole result as JSON.
    pub json: Value,
}

/// Compares two models. `show` gets the role of the model at work, how many of its requests are
/// done, and how many there are. There is a result if the run got to its end ([`Ending::Target`]).
///
/// # Errors
///
/// If a model cannot be opened or does not answer, both are the same, or the store fails.
pub async fn compare(
    store: &Store,
    request: &CompareRequest<'_>,
    show: &mut dyn FnMut(Role, usize, usize),
) -> Result<(Ending, Option<Comparison>)> {
    let run_id = begin(store, request).await?;
    let outcome = Run {
        store,
        request,
        run_id,
    }
    .all(show)
    .await;
    progress::finish(store, run_id, outcome, |(ending, _)| match ending {
        Ending::Target => RunStatus::Done,
        _ => RunStatus::Interrupted,
    })
    .await
}

/// Records the start of the run.
async fn begin(store: &Store, request: &CompareRequest<'_>) -> Result<i64> {
    let job = request.job;
    let config = json!({
        "a": job.a, "b": job.b, "judge": job.judge, "source": prompts::source(job), "items": request.items.len(),
        "max_tokens": job.max_tokens, "judge_tokens": job.judge_tokens, "exam": job.exam,
        "judged_by": job.judged_by, "tie_margin": job.tie_margin,
        "out": job.out.display().to_string(),
    });
    // The lock of evaluations says that no other one is at work.
    store.note_killed("compare", None).await?;
    Ok(store
        .begin_run("compare", &config, Some(job.seed as i64), None)
        .await?)
}

/// One run.
struct Run<'a> {
    store: &'a Store,
    request: &'a CompareRequest<'a>,
    run_id: i64,
}

/// A model's name and its answers, trimmed, in order of the items.
struct Answered {
    name: String,
    texts: Vec<Option<String>>,
    failures: Vec<String>,
    /// Answers that were cut off by the limit of tokens.
    cut: usize,
}

/// The judge, and what it thinks of each pair.
struct JudgeOutcome {
    result: JudgeResult,
    judgings: Vec<Judging>,
}

impl Run<'_> {
    /// Asks all models in turn, and computes and stores the result.
    async fn all(&self, show: &mut dyn FnMut(Role, usize, usize)) -> Result<(Ending, Option<Comparison>)> {
        let job = self.request.job;
        let a = match self.answered(&job.a, Role::A, show).await? {
            Ok(answered) => answered,
            Err(ending) => return Ok((ending, None)),
        };
        let b = match self.answered(&job.b, Role::B, show).await? {
            Ok(answered) => answered,
            Err(ending) => return Ok((ending, None)),
        };
        if a.name == b.name {
            bail!(
                "--a and --b are the same model, `{}`\nhint: give another one, or another adapter, to compare it with",
                a.name
            );
        }
        let judged = match &job.judge {
            None => None,
            Some(judge) => match self.judged(judge, &a, &b, show).await? {
                Ok(judged) => Some(judged),
                Err(ending) => return Ok((ending, None)),
            },
        };
        let comparison = self.finish(&a, &b, judged).await?;
        Ok((Ending::Target, Some(comparison)))
    }

    /// Sends requests to a model. Returns its answers, or why the run ends before them.
    async fn ask(
        &self,
        backend: &dyn Backend,
        (role, stage): (Role, &'static str),
        requests: &[AnswerRequest],
        show: &mut dyn FnMut(Role, usize, usize),
    ) -> Result<std::result::Result<Answers, Ending>> {
        let job = self.request.job;
        let asker = Asker::new(
            self.store,
            self.run_id,
            backend,
            &job.budget,
            self.request.interrupted,
        );
        show(role, 0, requests.len());
        let mut show = |done| show(role, done, requests.len());
        let (ending, answers) = answers(&asker, stage, requests, &mut show)
            .await
            .with_context(|| format!("{} ({})", role.as_str(), backend.model()))?;
        Ok(match ending {
            Ending::Target => Ok(answers),
            ending => Err(ending),
        })
    }

    /// Has a model answer all prompts, greedily, and closes it.
    async fn answered(
        &self,
        choice: &ModelChoice,
        role: Role,
        show: &mut dyn FnMut(Role, usize, usize),
    ) -> Result<std::result::Result<Answered, Ending>> {
        let backend = self.request.models.open(choice, role).await?;
        let requests: Vec<AnswerRequest> = self
            .request
            .items
            .iter()
            .map(|item| AnswerRequest {
                key: item.key.clone(),
                question: item.question.clone(),
                sampling: greedy(self.request.job.max_tokens),
            })
            .collect();
        let answers = match self
            .ask(backend.as_ref(), (role, ANSWER), &requests, show)
            .await?
        {
            Ok(answers) => answers,
            Err(ending) => return Ok(Err(ending)),
        };
        let mut answered = Answered {
            name: backend.model().to_owned(),
            texts: Vec::with_capacity(answers.len()),
            failures: Vec::new(),
            cut: 0,
        };
        for answer in answers {
            match answer {
                Some(Ok(answer)) => {
                    answered.cut += usize::from(answer.finish_reason == FinishReason::Length);
                    answered.texts.push(Some(answer.text.trim().to_owned()));
                }
                Some(Err(why)) => {
                    answered.texts.push(None);
                    answered.failures.push(why);
                }
                None => answered.texts.push(None),
            }
        }
        Ok(Ok(answered))
    }

    /// Examines the judge, and has it compare the answers in both orders.
    async fn judged(
        &self,
        choice: &ModelChoice,
        a: &Answered,
        b: &Answered,
        show: &mut dyn FnMut(Role, usize, usize),
    ) -> Result<std::result::Result<JudgeOutcome, Ending>> {
        let (job, items) = (self.request.job, self.request.items);
        let exam = exam::pairs(items, job.exam, job.seed);
        let backend = self.request.models.open(choice, Role::Judge).await?;
        // The pairs of both models which differ, by their items.
        let open: Vec<(usize, &str, &str)> = (0..items.len())
            .filter_map(|at| Some((at, a.texts[at].as_deref()?, b.texts[at].as_deref()?)))
            .filter(|(_, answer_a, answer_b)| answer_a != answer_b)
            .collect();
        let examined = exam.iter().map(|pair| (pair.item, &*pair.better, &*pair.worse));
        let requests: Vec<AnswerRequest> = examined
            .chain(open.iter().copied())
            .flat_map(|(at, first, second)| [(at, first, second), (at, second, first)])
            .map(|(at, first, second)| AnswerRequest {
                key: items[at].key.clone(),
                question: compare::question(&items[at].question, first, second),
                sampling: Sampling {
                    stop: vec![compare::STOP.to_owned()],
                    choices: job.judged_by.choices(&reply::WORDS),
                    ..greedy(job.judge_tokens)
                },
            })
            .collect();
        let answers = match self
            .ask(backend.as_ref(), (Role::Judge, JUDGE), &requests, show)
            .await?
        {
            Ok(answers) => answers,
            Err(ending) => return Ok(Err(ending)),
        };
        let (replies, problems) = read_replies(answers, job)
            .with_context(|| format!("{} ({})", Role::Judge.as_str(), backend.model()))?;
        let (of_exam, of_pairs) = replies.split_at(exam.len());
        let of_exam: Vec<(Reply, Reply)> = of_exam
            .iter()
            .map(|(first, second)| (first.reply, second.reply))
            .collect();
        let mut judgings = judgings_before(a, b);
        for ((at, ..), (a_first, b_first)) in open.iter().zip(of_pairs) {
            judgings[*at] = Judged::both(*a_first, *b_first, job.tie_margin);
        }
        Ok(Ok(JudgeOutcome {
            result: JudgeResult {
                name: backend.model().to_owned(),
                exam: exam::grade(&exam, &of_exam, job.seed),
                problems,
            },
            judgings,
        }))
    }

    /// Computes the figures, and stores the pairs and the result.
    async fn finish(&self, a: &Answered, b: &Answered, judged: Option<JudgeOutcome>) -> Result<Comparison> {
        let (job, items) = (self.request.job, self.request.items);
        let (judge, judgings) = match judged {
            Some(judged) => (Some(judged.result), Some(judged.judgings)),
            None => (None, None),
        };
        let pairs: Vec<Pair<'_>> = (0..items.len())
            .map(|at| Pair {
                category: items[at].category.as_deref(),
                answer_a: a.texts[at].as_deref().unwrap_or_default(),
                answer_b: b.texts[at].as_deref().unwrap_or_default(),
                judging: judgings.as_ref().map(|judgings| judgings[at]),
            })
            .collect();
        let exam = judge.as_ref().and_then(|judge| judge.exam.as_ref());
        let figures = Figures::of(&pairs, exam, job.seed);
        let rows: Vec<NewPair<'_>> = items
            .iter()
            .zip(&pairs)
            .map(|(item, pair)| result::row(item, pair))
            .collect();
        let source = prompts::source(job);
        let new = NewComparison {
            run_id: self.run_id,
            model_a: &a.name,
            model_b: &b.name,
            judge: judge.as_ref().map(|judge| judge.name.as_str()),
            source: &source,
        };
        let id = self.store.add_comparison(&new, &rows).await?;
        let votes = self.store.votes(id).await?;
        let people = PeopleFigures::of(votes.iter().map(Vote::words));
        let mut comparison = Comparison {
            remarks: result::remarks(a, b, judge.as_ref(), &figures),
            pairs: rows.iter().map(|row| json!(row)).collect(),
            model_a: a.name.clone(),
            model_b: b.name.clone(),
            judge,
            figures,
            people,
            json: Value::Null,
        };
        comparison.json = result::result(&comparison, job, (id, self.run_id), &source);
        self.store.set_comparison_result(id, &comparison.json).await?;
        Ok(comparison)
    }
}

/// Greedy sampling, so that the same question has the same answer every time.
fn greedy(max_tokens: usize) -> Sampling {
    Sampling {
        max_tokens,
        temperature: 0.0,
        ..Sampling::default()
    }
}

/// What a judge replied about each pair: with a first, and with b first.
type Replies = Vec<(Judged, Judged)>;

/// Reads a reply.
///
/// # Errors
///
/// The inner one says why it is not clear, the outer one that the judge's server has no
/// likelihoods.
fn read_reply(answer: &Answer, job: &CompareJob) -> Result<std::result::Result<Judged, String>> {
    if job.judged_by == JudgedBy::Text {
        return Ok(reply::read(&answer.text, answer.finish_reason).map(Judged::by_text));
    }
    match reply::likelihood(&answer.text, answer.finish_reason, answer.places.as_deref()) {
        Ok(Ok(second)) => Ok(Ok(Judged::by_likelihood(second, job.tie_margin))),
        Ok(Err(NoLikelihood::NotTold)) => Err(NoLikelihood::NotTold.into()),
        Ok(Err(why)) => Ok(Err(why.to_string())),
        Err(why) => Ok(Err(why)),
    }
}

/// Reads replies to pairs in two orders, and counts why some cannot be read.
fn read_replies(answers: Answers, job: &CompareJob) -> Result<(Replies, Vec<(u64, String)>)> {
    let mut problems: BTreeMap<String, u64> = BTreeMap::new();
    let mut replies = Vec::with_capacity(answers.len());
    for answer in answers {
        let read = match answer {
            Some(Ok(answer)) => read_reply(&answer, job)?,
            Some(Err(why)) => Err(why),
            None => Err("it was not asked".to_owned()),
        };
        replies.push(read.unwrap_or_else(|why| {
            *problems.entry(why).or_default() += 1;
            Judged::by_text(Reply::Error)
        }));
    }
    let mut problems: Vec<(u64, String)> = problems.into_iter().map(|(why, count)| (count, why)).collect();
    problems.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
    problems.truncate(5);
    let replies = replies.chunks_exact(2).map(|both| (both[0], both[1]));
    Ok((replies.collect(), problems))
}

/// What is known of each pair before the judge is asked.
fn judgings_before(a: &Answered, b: &Answered) -> Vec<Judging> {
    let known = a
        .texts
        .iter()
        .zip(&b.texts)
        .map(|(answer_a, answer_b)| match (answer_a, answer_b) {
            (Some(_), Some(_)) => Judging::Same,
            _ => Judging::Unanswered,
        });
    known.collect()
}
