//! The quality pass: a model scores the instances that it has not scored yet. Requests are stored
//! like those of generation, so none is sent twice. Judgments are added; nothing else changes.

use super::ask::Asker;
use super::budget::Budget;
use super::{Ending, NoAnswer, progress};
use crate::backend::{Backend, Completion, EndpointStatus, Sampling, content_key};
use crate::choice::{self, JudgedBy, NoLikelihood};
use crate::generate;
use crate::generate::judgment::{self, ParsedJudgment};
use crate::generate::rubric::CriterionScore;
use crate::interchange::turns;
use crate::prompt::judge;
use crate::prompt::rubric::{self, Rubric};
use crate::store::Store;
use crate::store::curation::judgment::{JudgeSelection, NewJudgment, OfRubric, Unjudged};
use anyhow::{Result, bail};
use futures::stream::StreamExt;
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;

/// The stage of its requests.
const STAGE: &str = "judge";
/// Tokens of an answer: a score and one or two sentences.
const ANSWER_TOKENS: usize = 120;
/// Tokens of an answer for each criterion of a rubric.
const CRITERION_TOKENS: usize = 80;
/// Requests at once if the backend sets no limit.
const MOST_AT_ONCE: usize = 10_000;
/// Failed requests in a row that end the pass.
const FAILED: u64 = 10;

/// The settings of a pass. The store keeps them as JSON under the names of the fields.
#[derive(Debug, Clone, serde::Serialize)]
pub struct JudgeConfig {
    /// The instances to judge.
    pub choice: JudgeSelection,
    /// How many of them to judge at most.
    pub limit: Option<u64>,
    /// By what a judgment is.
    pub by: JudgedBy,
    /// The user's rubric; `None` for ewe's own scale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rubric: Option<Rubric>,
    /// Limits of the pass.
    pub budget: Budget,
}

/// The progress of a pass.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct JudgeProgress {
    /// The model that judges.
    pub model: String,
    /// Instances that this pass is to judge.
    pub total: u64,
    /// Instances by score, from 1 to 5; by likelihood, by the nearest whole one.
    pub scores: [u64; 5],
    /// The name of the rubric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rubric: Option<String>,
    /// The sum of the scores of each criterion.
    #[serde(skip)]
    pub criteria: BTreeMap<String, f64>,
    /// The sum of the scores.
    #[serde(skip)]
    pub sum: f64,
    /// Instances whose judgment has no clear score.
    pub unreadable: u64,
    /// Instances whose request failed. The next pass tries again.
    pub failed: u64,
    /// The most frequent failure.
    pub failure: Option<String>,
    /// Complaints about requests without a score, most frequent first.
    pub complaints: Vec<(u64, String)>,
    /// Requests sent.
    pub requests: u64,
    /// Tokens of the answered prompts.
    pub prompt_tokens: u64,
    /// Tokens of the answers.
    pub completion_tokens: u64,
    /// The status of the judge's endpoints.
    #[serde(skip)]
    pub endpoints: Vec<EndpointStatus>,
    /// Content keys of the requests that the backend deferred; at the end only.
    #[serde(skip)]
    pub waiting: Vec<String>,
}

impl JudgeProgress {
    /// The number of instances judged by this pass.
    pub fn judged(&self) -> u64 {
        self.scored() + self.unreadable
    }

    /// The mean of the scores; `None` if there is none.
    pub fn mean(&self) -> Option<f64> {
        (self.scored() > 0).then(|| self.sum / self.scored() as f64)
    }

    fn scored(&self) -> u64 {
        self.scores.iter().sum()
    }

    /// The mean score of each criterion of the rubric.
    pub fn criteria_means(&self) -> Vec<(&str, f64)> {
        let scored = self.scored().max(1) as f64;
        let sums = self.criteria.iter();
        sums.map(|(name, sum)| (name.as_str(), sum / scored)).collect()
    }

    /// Counts instances of which this was said.
    fn count(&mut self, scored: &Scored, instances: u64) {
        let score = scored.expected.or(scored.score.map(f64::from)).unwrap_or(1.0);
        for of in &scored.criteria {
            *self.criteria.entry(of.criterion.clone()).or_default() += of.score as f64 * instances as f64;
        }
        let nearest = (score.round() as usize).clamp(1, self.scores.len());
        self.scores[nearest - 1] += instances;
        self.sum += score * instances as f64;
    }
}

/// The scores that an answer may have.
const SCORES: [&str; 5] = ["1", "2", "3", "4", "5"];

/// Greedy sampling, so that the same instance gets the same score every time.
fn sampling(config: &JudgeConfig) -> Sampling {
    let (max_tokens, stop) = match &config.rubric {
        Some(rubric) => (CRITERION_TOKENS * (rubric.criteria.len() + 1), rubric::STOP),
        None => (ANSWER_TOKENS, judge::STOP),
    };
    Sampling {
        choices: config.by.choices(&SCORES),
        max_tokens,
        temperature: 0.0,
        stop: vec![stop.to_string()],
        ..Sampling::default()
    }
}

/// Judges instances until none is left ([`Ending::Target`]) or the pass ends for another reason.
/// `show` is called before the first one, after each, and at the end.
///
/// # Errors
///
/// If the backend or the store fails, or ten requests in a row.
pub async fn judge(
    store: &Store,
    config: &JudgeConfig,
    backend: &dyn Backend,
    interrupted: &AtomicBool,
    show: &mut dyn FnMut(&JudgeProgress),
) -> Result<(Ending, JudgeProgress)> {
    let hash = config.rubric.as_ref().map(|rubric| rubric.sha256.as_str());
    let mut unjudged = store
        .unjudged(&config.choice, backend.model(), config.by, hash)
        .await?;
    unjudged.truncate(config.limit.unwrap_or(u64::MAX).min(usize::MAX as u64) as usize);
    let mut now = JudgeProgress {
        model: backend.model().to_string(),
        total: unjudged.len() as u64,
        rubric: config.rubric.as_ref().map(|rubric| rubric.name.clone()),
        ..JudgeProgress::default()
    };
    if unjudged.is_empty() {
        show(&now);
        return Ok((Ending::Target, now));
    }
    let run_id = store
        .begin_run(
            "judge",
            &serde_json::to_value(config)?,
            None,
            Some(backend.model()),
        )
        .await?;
    let asker = Asker::new(store, run_id, backend, &config.budget, interrupted);
    show(&now);
    let result = pass(&asker, config, &alike(config, &unjudged), &mut now, show).await;
    count(&asker, &mut now);
    now.waiting = asker.waiting();
    show(&now);
    let ending = progress::finish(store, run_id, result, |ending| ending.status()).await?;
    Ok((ending, now))
}

/// Returns the prompt about an instance. Of a conversation, the last answer is judged, and what was
/// said before it is the input.
fn prompt(config: &JudgeConfig, of: &Unjudged) -> String {
    let turns = turns::of_column(of.turns.as_deref());
    let question = match of.input.is_empty() {
        true => of.instruction.clone(),
        false => format!("{}\n\n{}", of.instruction, of.input),
    };
    let ask = |instruction: &str, input: &str, output: &str| match &config.rubric {
        Some(rubric) => rubric::prompt(rubric, instruction, input, output),
        None => judge::prompt(instruction, input, output),
    };
    match turns::before_last(&question, &of.output, &turns) {
        Some((before, last)) => ask(CONVERSATION, &before, &last),
        None => ask(&of.instruction, &of.input, &of.output),
    }
}

/// What a judge is told of a conversation.
const CONVERSATION: &str = "Continue the conversation below with the assistant's next message.";

/// Groups instances with the same prompt, which need one request only.
fn alike<'u>(config: &JudgeConfig, unjudged: &'u [Unjudged]) -> Vec<Vec<&'u Unjudged>> {
    let mut groups: Vec<Vec<&'u Unjudged>> = Vec::new();
    let mut places = HashMap::new();
    for one in unjudged {
        // By a hash, since all prompts together would take much memory.
        let prompt = prompt(config, one);
        let place = *places
            .entry(content_key("", &prompt, &Sampling::default()))
            .or_insert_with(|| {
                groups.push(Vec::new());
                groups.len() - 1
            });
        groups[place].push(one);
    }
    groups
}

/// Judges groups of instances, many at a time.
async fn pass(
    asker: &Asker<'_>,
    config: &JudgeConfig,
    groups: &[Vec<&Unjudged>],
    now: &mut JudgeProgress,
    show: &mut dyn FnMut(&JudgeProgress),
) -> Result<Ending> {
    // Once the pass ends, no new request is sent. Those in flight were paid for and are finished.
    let ending = Cell::new(None);
    let is_open = || matches!(ending.get(), None | Some(Ending::Waiting));
    let open = groups.iter().take_while(|_| is_open());
    let at_once = asker.backend.capacity().clamp(1, MOST_AT_ONCE);
    let mut answers =
        futures::stream::iter(open.map(|group| judge_one(asker, config, group))).buffer_unordered(at_once);
    let mut failed_in_a_row = 0;
    let mut failures: BTreeMap<String, u64> = BTreeMap::new();
    let mut fatal = None;
    while let Some((instances, outcome)) = answers.next().await {
        match outcome {
            Ok(Some(scored)) => now.count(&scored, instances),
            Ok(None) => now.unreadable += instances,
            Err(NoAnswer::Failed(error)) => {
                now.failed += instances;
                failed_in_a_row += 1;
                *failures.entry(error).or_insert(0) += instances;
                let most = failures.iter().max_by_key(|(_, count)| **count);
                now.failure = most.map(|(error, _)| error.clone());
                if failed_in_a_row == FAILED {
                    let error = asker.futility.told().unwrap_or_default();
                    let error = format!("{FAILED} requests in a row could not be asked: {error}");
                    fatal.get_or_insert(anyhow::Error::msg(error));
                    ending.set(Some(Ending::Interrupted));
                }
                count(asker, now);
                show(now);
                continue;
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
        }
        failed_in_a_row = 0;
        count(asker, now);
        show(now);
    }
    match fatal {
        Some(error) => bail!(error),
        None => Ok(ending.get().unwrap_or(Ending::Target)),
    }
}

/// Updates the counts of requests and tokens.
fn count(asker: &Asker<'_>, now: &mut JudgeProgress) {
    now.requests = asker.meter.requests();
    now.prompt_tokens = asker.meter.prompt_tokens();
    now.completion_tokens = asker.meter.completion_tokens();
    now.endpoints = asker.backend.status();
    now.complaints = asker.futility.said();
}

/// What a judge said of a group of instances.
#[derive(Default)]
struct Scored {
    /// The score, from 1 to 5; by likelihood or a rubric, the nearest whole one.
    score: Option<u8>,
    /// By likelihood or a rubric, what counts in its place.
    expected: Option<f64>,
    reason: String,
    /// Of each criterion of a rubric.
    criteria: Vec<CriterionScore>,
}

/// Reads an answer. The outer error ends the pass, since no judgment would have a likelihood.
fn read(config: &JudgeConfig, completion: &Completion) -> Result<Result<Scored, String>, NoLikelihood> {
    if let Some(empty) = completion.emptiness() {
        return Ok(Err(empty.to_string()));
    }
    let (text, finish) = (&completion.text, completion.finish_reason);
    if let Some(rubric) = &config.rubric {
        return Ok(
            generate::rubric::scores(text, finish, &rubric.criteria).map(|criteria| {
                let mean = generate::rubric::mean(&criteria);
                let reasons = criteria
                    .iter()
                    .map(|of| format!("{} {}: {}", of.criterion, of.score, of.reason));
                Scored {
                    score: Some(mean.round() as u8),
                    expected: Some(mean),
                    reason: reasons.collect::<Vec<_>>().join(" "),
                    criteria,
                }
            }),
        );
    }
    let parsed = match judgment::read(text, finish) {
        Ok(parsed) => parsed,
        Err(problem) => return Ok(Err(problem)),
    };
    let expected = match (config.by, expected(completion, &parsed)) {
        (JudgedBy::Text, _) => None,
        (JudgedBy::Likelihood, Ok(expected)) => Some(expected),
        (JudgedBy::Likelihood, Err(NoLikelihood::NotTold)) => return Err(NoLikelihood::NotTold),
        (JudgedBy::Likelihood, Err(other)) => return Ok(Err(other.to_string())),
    };
    Ok(Ok(Scored {
        score: Some(parsed.score),
        expected,
        reason: parsed.reason,
        criteria: Vec::new(),
    }))
}

/// Judges instances with the same prompt. Returns their number, and what is said of them if it is
/// clear.
async fn judge_one(
    asker: &Asker<'_>,
    config: &JudgeConfig,
    group: &[&Unjudged],
) -> (u64, Result<Option<Scored>, NoAnswer>) {
    let first = group[0];
    let count = group.len() as u64;
    let prompt = prompt(config, first);
    let (round, ordinal) = (first.round as u64, first.instance_id as u64);
    let mut response = match asker.ask(round, STAGE, ordinal, prompt, sampling(config)).await {
        Ok(response) => response,
        Err(error) => return (count, Err(error)),
    };
    let id = response.id;
    let read = match read(config, &response.completion) {
        Ok(read) => read,
        Err(not_told) => {
            response.settle(true);
            return (count, Err(NoAnswer::Fatal(not_told.into())));
        }
    };
    response.settle(read.is_ok());
    let nothing = Scored::default();
    let (scored, problem) = match &read {
        Ok(scored) => (scored, None),
        Err(problem) => (&nothing, Some(problem.as_str())),
    };
    let criteria = serde_json::to_string(&scored.criteria).expect("scores are plain values");
    let rubric = config.rubric.as_ref().map(|rubric| OfRubric {
        name: &rubric.name,
        sha256: &rubric.sha256,
        criteria: read.is_ok().then_some(criteria.as_str()),
    });
    let judgments: Vec<NewJudgment<'_>> = group
        .iter()
        .map(|of| NewJudgment {
            of,
            run_id: asker.run_id,
            request_id: id,
            model: asker.backend.model(),
            score: scored.score,
            judged_by: config.by,
            expected: scored.expected,
            reason: &scored.reason,
            problem,
            rubric,
        })
        .collect();
    let stored = asker.store.add_judgments(&judgments).await;
    let outcome = stored
        .map(|()| read.ok())
        .map_err(|error| NoAnswer::Fatal(error.into()));
    (count, outcome)
}

/// The mean of all scores, each weighted by its probability where the answer has its score.
fn expected(completion: &Completion, parsed: &ParsedJudgment) -> Result<f64, NoLikelihood> {
    let place = choice::place_at(completion.places.as_deref(), parsed.at)?;
    let shares = place.shares().ok_or(NoLikelihood::NoToken)?;
    Ok((1..)
        .zip(shares)
        .map(|(score, share)| f64::from(score) * share)
        .sum())
}
