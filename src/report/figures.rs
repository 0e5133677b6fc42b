//! The counts, in the shape in which they are printed, drawn and told.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::query::stats::{RunCost, Totals};
use crate::store::query::tally::Counts;
use crate::store::{Result, Store};
use crate::task::{Origin, Review};

/// The most points of [`Growth`].
const MOST_POINTS: i64 = 96;

/// The verbs and labels that are named.
const MOST_NAMED: usize = 20;

/// The objects that are named of each verb.
const MOST_OBJECTS: usize = 8;

/// Everything that `stats`, the page and the report say about a dataset.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Figures {
    /// What training would read.
    pub dataset: DatasetSize,
    /// Tasks by origin and review.
    pub origins: Vec<OriginCount>,
    /// How the dataset divides.
    pub balance: Balance,
    /// What was parsed, and what became of it.
    pub candidates: Candidates,
    /// Reasons for which candidates could have been turned away, and none was.
    pub silent_reasons: Vec<String>,
    /// Model calls of all runs.
    pub requests: Requests,
    /// What each run cost and brought.
    pub runs: Vec<RunCost>,
    /// What became of instructions, over the rounds of generation.
    pub growth: Growth,
    /// Instructions by length in characters, in steps of 25.
    pub instruction_lengths: Vec<Bucket>,
    /// Inputs by length in characters, in steps of 100; empty ones are not counted.
    pub input_lengths: Vec<Bucket>,
    /// Outputs by length in characters, in steps of 100.
    pub output_lengths: Vec<Bucket>,
    /// Tasks by ROUGE-L with their nearest neighbour in hundredths, in steps of 5.
    pub similarities: Vec<Bucket>,
    /// Answers of classification tasks.
    pub labels: Labels,
    /// Instances by judge and score.
    pub scores: Vec<ScoreCount>,
    /// What instructions ask for.
    pub roots: RootCounts,
}

/// The view `dataset` in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct DatasetSize {
    /// Tasks with at least one instance that were not rejected.
    pub tasks: i64,
    /// Their instances.
    pub examples: i64,
    /// Those of accepted tasks.
    pub accepted: i64,
    /// Those of tasks that nobody has looked at.
    pub pending: i64,
}

/// Tasks of one origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct OriginCount {
    /// Where they came from.
    pub origin: Origin,
    /// Nobody has looked yet.
    pub pending: i64,
    /// Wanted.
    pub accepted: i64,
    /// Not wanted.
    pub rejected: i64,
}

/// Tasks of the dataset by shape; rejected tasks are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Balance {
    /// Tasks whose answer is one of a few labels.
    pub classification: i64,
    /// All others.
    pub other: i64,
    /// Instances with an input.
    pub with_input: i64,
    /// Instances without.
    pub without_input: i64,
}

/// Everything ever parsed out of a response: `parsed` = `accepted` + `rejected`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Candidates {
    /// All of them.
    pub parsed: i64,
    /// Let through by the filter.
    pub accepted: i64,
    /// Turned away.
    pub rejected: i64,
    /// By kind, verdict and reason, the most frequent first.
    pub verdicts: Vec<VerdictCount>,
}

/// How many candidates met one verdict.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct VerdictCount {
    /// `instruction` or `instance`.
    pub kind: String,
    /// `accepted` or `rejected`.
    pub verdict: String,
    /// Why it was rejected.
    pub reason: Option<String>,
    /// How many.
    pub candidates: i64,
}

/// Model calls and their tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Requests {
    /// Answered calls.
    pub requests: i64,
    /// Tokens of all prompts.
    pub prompt_tokens: i64,
    /// Tokens of all answers.
    pub completion_tokens: i64,
}

/// Instructions over the rounds of generation.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Growth {
    /// Rounds that belong to each point: a power of two.
    pub rounds_per_point: i64,
    /// In order; where nothing was parsed there is no point.
    pub points: Vec<GrowthPoint>,
}

/// What became of the instructions of some rounds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct GrowthPoint {
    /// The first of the rounds.
    pub round: i64,
    /// When it was admitted, UTC.
    pub admitted_at: Option<String>,
    /// Instructions that became tasks.
    pub accepted: i64,
    /// Instructions that were rejected, by reason.
    pub rejected: BTreeMap<String, i64>,
}

/// A bar of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Bucket {
    /// The smallest value that belongs here.
    pub from: i64,
    /// How many there are.
    pub count: i64,
}

/// Outputs of classification tasks, upper and lower case alike.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Labels {
    /// The most frequent ones.
    pub most: Vec<LabelCount>,
    /// How many different ones there are.
    pub different: i64,
    /// Examples with one that is not among the most frequent.
    pub other: i64,
    /// Examples whose answer is too long for a label.
    pub long: i64,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LabelCount {
    /// The answer, in lower case.
    pub label: String,
    /// Instances.
    pub examples: i64,
}

/// How many instances of the dataset have one score from one model.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ScoreCount {
    /// Who judged.
    pub model: String,
    /// 1 to 5; none where no score could be read.
    pub score: Option<i64>,
    /// Instances.
    pub instances: i64,
}

/// Root verbs of the dataset's instructions and their objects; see [`super::roots`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RootCounts {
    /// Tasks with a verb and an object.
    pub with_object: i64,
    /// Tasks with a verb only.
    pub verb_only: i64,
    /// Tasks for which no verb was found.
    pub without: i64,
    /// The most frequent verbs.
    pub verbs: Vec<VerbCount>,
}

/// One verb.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct VerbCount {
    /// In its base form.
    pub verb: String,
    /// Tasks, with an object or without.
    pub tasks: i64,
    /// Its most frequent objects.
    pub objects: Vec<ObjectCount>,
}

/// One object of a verb.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ObjectCount {
    /// The noun, as a singular.
    pub noun: String,
    /// Tasks.
    pub tasks: i64,
}

impl Figures {
    /// Counts.
    ///
    /// # Errors
    ///
    /// When the dataset cannot be read.
    pub async fn load(store: &Store) -> Result<Figures> {
        Ok(Figures::of(store.totals(super::roots::ROOTS, MOST_POINTS).await?))
    }

    /// The figures that these counts are.
    fn of(totals: Totals) -> Figures {
        let tasks = &totals.tasks;
        let count = |origin: Origin, review: Review| {
            let reviews = tasks.tasks.get(origin.as_str());
            reviews
                .and_then(|reviews| reviews.get(review.as_str()))
                .copied()
                .unwrap_or(0)
        };
        let examples = |review: Review| tasks.examples.get(review.as_str()).copied().unwrap_or(0);
        let candidates = candidates(&totals);
        Figures {
            dataset: DatasetSize {
                tasks: tasks.classification + tasks.other,
                examples: tasks.with_input + tasks.without_input,
                accepted: examples(Review::Accepted),
                pending: examples(Review::Pending),
            },
            origins: Origin::ALL
                .into_iter()
                .map(|origin| OriginCount {
                    origin,
                    pending: count(origin, Review::Pending),
                    accepted: count(origin, Review::Accepted),
                    rejected: count(origin, Review::Rejected),
                })
                .collect(),
            balance: Balance {
                classification: tasks.classification,
                other: tasks.other,
                with_input: tasks.with_input,
                without_input: tasks.without_input,
            },
            silent_reasons: silent_reasons(&totals, &candidates),
            candidates,
            requests: Requests {
                requests: totals.runs.iter().map(|run| run.requests).sum(),
                prompt_tokens: totals.runs.iter().map(|run| run.prompt_tokens).sum(),
                completion_tokens: totals.runs.iter().map(|run| run.completion_tokens).sum(),
            },
            growth: growth(&totals),
            instruction_lengths: buckets(&tasks.instruction_lengths),
            input_lengths: buckets(&tasks.input_lengths),
            output_lengths: buckets(&tasks.output_lengths),
            similarities: buckets(&tasks.similarities),
            labels: labels(&tasks.labels, tasks.long_labels),
            scores: scores(&tasks.scores),
            roots: root_counts(&tasks.roots, tasks.rootless),
            runs: totals.runs,
        }
    }
}

fn candidates(totals: &Totals) -> Candidates {
    let mut all = Vec::new();
    for (kind, by_verdict) in &totals.candidates.verdicts {
        for (verdict, reasons) in by_verdict {
            all.extend(
                most(reasons)
                    .into_iter()
                    .map(|(reason, candidates)| VerdictCount {
                        kind: kind.clone(),
                        verdict: verdict.clone(),
                        reason: (verdict == "rejected").then(|| reason.clone()),
                        candidates,
                    }),
            );
        }
    }
    let sum = |verdict: &str| {
        let rows = all.iter().filter(|row| row.verdict == verdict);
        rows.map(|row| row.candidates).sum()
    };
    Candidates {
        parsed: all.iter().map(|row| row.candidates).sum(),
        accepted: sum("accepted"),
        rejected: sum("rejected"),
        verdicts: all,
    }
}

/// Reasons that a run of `generate` named in its configuration, and that no candidate has.
fn silent_reasons(totals: &Totals, candidates: &Candidates) -> Vec<String> {
    let generated = totals.runs.iter().filter(|run| run.command == "generate");
    let configs = generated
        .filter_map(|run| serde_json::from_str::<serde_json::Value>(totals.configs.get(&run.run_id)?).ok());
    let mut reasons: BTreeSet<String> = configs
        .filter_map(|config| serde_json::from_value::<Vec<String>>(config.get("reasons")?.clone()).ok())
        .flatten()
        .collect();
    for row in &candidates.verdicts {
        reasons.remove(row.reason.as_deref().unwrap_or_default());
    }
    reasons.into_iter().collect()
}

fn growth(totals: &Totals) -> Growth {
    let candidates = &totals.candidates;
    let points = candidates.rounds.iter().map(|(span, counts)| {
        let mut rejected = counts.clone();
        GrowthPoint {
            round: span << candidates.bits,
            admitted_at: totals.admitted.get(span).cloned(),
            accepted: rejected.remove("").unwrap_or(0),
            rejected,
        }
    });
    Growth {
        rounds_per_point: 1 << candidates.bits,
        points: points.collect(),
    }
}

fn buckets(counts: &Counts<i64>) -> Vec<Bucket> {
    let bucket = |(&from, &count)| Bucket { from, count };
    counts.iter().map(bucket).collect()
}

/// The most frequent first.
fn most(counts: &Counts) -> Vec<(&String, i64)> {
    let mut sorted: Vec<_> = counts.iter().map(|(key, count)| (key, *count)).collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    sorted
}

fn labels(counts: &Counts, long: i64) -> Labels {
    let sorted = most(counts);
    let (named, others) = sorted.split_at(sorted.len().min(MOST_NAMED));
    Labels {
        most: named
            .iter()
            .map(|(label, examples)| LabelCount {
                label: (*label).clone(),
                examples: *examples,
            })
            .collect(),
        different: sorted.len() as i64,
        other: others.iter().map(|(_, examples)| examples).sum(),
        long,
    }
}

fn scores(counts: &BTreeMap<String, Counts>) -> Vec<ScoreCount> {
    let mut rows = Vec::new();
    for (model, scores) in counts {
        let mut of_model: Vec<_> = scores
            .iter()
            .map(|(score, instances)| ScoreCount {
                model: model.clone(),
                score: score.parse().ok(),
                instances: *instances,
            })
            .collect();
        // What cannot be read comes last.
        of_model.sort_by_key(|row| (row.score.is_none(), row.score));
        rows.extend(of_model);
    }
    rows
}

fn root_counts(roots: &BTreeMap<String, Counts>, without: i64) -> RootCounts {
    let verb_only: i64 = roots.values().filter_map(|objects| objects.get("")).sum();
    let all: i64 = roots.values().flat_map(|objects| objects.values()).sum();
    let verbs: Counts = roots
        .iter()
        .map(|(verb, objects)| (verb.clone(), objects.values().sum()))
        .collect();
    let verbs = most(&verbs).into_iter().take(MOST_NAMED);
    RootCounts {
        with_object: all - verb_only,
        verb_only,
        without,
        verbs: verbs
            .map(|(verb, tasks)| VerbCount {
                verb: verb.clone(),
                tasks,
                objects: most(&roots[verb])
                    .into_iter()
                    .filter(|(noun, _)| !noun.is_empty())
                    .take(MOST_OBJECTS)
                    .map(|(noun, tasks)| ObjectCount {
                        noun: noun.clone(),
                        tasks,
                    })
                    .collect(),
            })
            .collect(),
    }
}
