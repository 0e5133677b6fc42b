//! Asks a model many questions, for commands that evaluate the answers. Every answer is committed
//! before it is used, so a killed run asks nothing twice.

use super::ask::Asker;
use super::{Ending, NoAnswer};
use crate::backend::{FinishReason, Question, Sampling, content_key};
use crate::choice::ChoicePlace;
use crate::store::{Error, Store};
use anyhow::{Context, Result, bail};
use futures::stream::StreamExt;
use std::cell::Cell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Requests at once if the backend sets no limit.
const MOST_AT_ONCE: usize = 10_000;
/// Failed requests that end a run in which none was answered.
const FAILED: usize = 10;

/// A question to ask.
#[derive(Debug, Clone)]
pub struct AnswerRequest {
    /// Its name in messages.
    pub key: String,
    /// What is asked.
    pub question: Question,
    /// How tokens are chosen.
    pub sampling: Sampling,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The row of table `request`.
    pub request_id: i64,
    /// The answer without reasoning; may be empty.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Where it names one of the choices of its request; none if the model does not tell.
    pub places: Option<Vec<ChoicePlace>>,
}

/// Answers in the order of their requests: none for those that were not asked any more, and why for
/// those that failed.
pub type Answers = Vec<Option<Result<Answer, String>>>;

/// Asks `requests`, as many at once as the backend can take, until all are answered
/// ([`Ending::Target`]) or the run ends for another reason; after [`Ending::Waiting`],
/// [`Asker::waiting`] has those that the backend deferred. Equal ones are asked once. `show` gets
/// the number of those that have an answer or failed, after each.
///
/// # Errors
///
/// If the backend or the store fails, or the first ten requests.
pub(super) async fn answers(
    asker: &Asker<'_>,
    stage: &'static str,
    requests: &[AnswerRequest],
    show: &mut dyn FnMut(usize),
) -> Result<(Ending, Answers)> {
    let alike = alike(asker.backend.model(), requests);
    // Once the run ends, no new request is sent. Those in flight were paid for and are finished.
    let ending = Cell::new(None);
    let is_open = || matches!(ending.get(), None | Some(Ending::Waiting));
    let open = alike.iter().take_while(|_| is_open());
    let at_once = asker.backend.capacity().clamp(1, MOST_AT_ONCE);
    let asked = open.map(|group| async move {
        let first = group[0];
        (group, answer(asker, stage, first, &requests[first]).await)
    });
    let mut asked = futures::stream::iter(asked).buffer_unordered(at_once);
    let mut answers: Answers = Vec::new();
    answers.resize_with(requests.len(), || None);
    let (mut done, mut answered, mut failed, mut fatal) = (0, 0, 0, None);
    while let Some((group, outcome)) = asked.next().await {
        let outcome = match outcome {
            Ok(answer) => {
                answered += 1;
                Ok(answer)
            }
            Err(NoAnswer::Failed(why)) => {
                failed += 1;
                // What defers has all its results already, and a refused one costs nothing more.
                if answered == 0 && failed >= FAILED && !asker.backend.defers() {
                    let key = &requests[group[0]].key;
                    fatal.get_or_insert(all_failed(failed, key, &why));
                    ending.set(Some(Ending::Interrupted));
                }
                Err(why)
            }
            Err(NoAnswer::Ending(why)) => {
                if is_open() {
                    ending.set(Some(why));
                }
                continue;
            }
            Err(NoAnswer::Fatal(error)) => {
                fatal.get_or_insert(error);
                ending.set(Some(Ending::Interrupted));
                continue;
            }
        };
        for &at in group {
            answers[at] = Some(outcome.clone());
        }
        done += group.len();
        show(done);
    }
    let ending = ending.get().unwrap_or(Ending::Target);
    if ending == Ending::Target && answered == 0 && failed >= FAILED {
        let first = answers.iter().zip(requests);
        let mut failures =
            first.filter_map(|(answer, request)| Some((request, answer.as_ref()?.as_ref().err()?)));
        if let Some((request, why)) = failures.next() {
            fatal.get_or_insert(all_failed(failed, &request.key, why));
        }
    }
    match fatal {
        Some(error) => Err(error),
        None => Ok((ending, answers)),
    }
}

/// The error of a run in which no request was answered.
fn all_failed(failed: usize, key: &str, why: &str) -> anyhow::Error {
    anyhow::anyhow!("no request was answered, and {failed} failed; {key}: {why}")
}

/// The places of requests, those with the same content key together.
fn alike(model: &str, requests: &[AnswerRequest]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut places = HashMap::new();
    for (at, request) in requests.iter().enumerate() {
        let key = content_key(model, &request.question.prompt(), &request.sampling);
        let place = *places.entry(key).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[place].push(at);
    }
    groups
}

/// Asks one question.
async fn answer(
    asker: &Asker<'_>,
    stage: &'static str,
    at: usize,
    request: &AnswerRequest,
) -> Result<Answer, NoAnswer> {
    let sampling = request.sampling.clone();
    let mut response = asker
        .ask_question(stage, at as u64, &request.question, sampling)
        .await?;
    // Whatever was answered is a result, an empty text included.
    response.settle(true);
    Ok(Answer {
        request_id: response.id,
        text: std::mem::take(&mut response.completion.text),
        finish_reason: response.completion.finish_reason,
        places: response.completion.places.take(),
    })
}

/// Returns where answers are kept without a dataset: `result.answers.db` beside `result.json`.
///
/// # Errors
///
/// If `out` is standard output, beside which is nothing.
pub fn path_beside(out: &Path) -> Result<PathBuf> {
    if crate::atomic_file::is_stdout(out) {
        bail!(
            "answers have no place beside standard output\nhint: give --out the name of a file; answers are kept beside it, \
             so that a run that ends early goes on"
        );
    }
    Ok(out.with_extension("answers.db"))
}

/// Opens the dataset without tasks that keeps the answers of a result at `out`, and makes it if it
/// is missing.
///
/// # Errors
///
/// As [`path_beside`]; if it cannot be opened or made.
pub async fn store_beside(out: &Path) -> Result<Store> {
    let path = path_beside(out)?;
    let opened = match Store::create(&path).await {
        Err(Error::Exists { .. }) => Store::open(&path).await,
        created => created,
    };
    opened.with_context(|| format!("cannot keep answers in `{}`", path.display()))
}
