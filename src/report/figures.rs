//! The counts, in the form in which they are printed and drawn.

use std::collections::{BTreeMap, BTreeSet};

use super::agreement::Agreement;
use super::documents::DocumentFigures;
use super::reviewers::TeamFigures;
use crate::store::curation::validation::ValidatorCounts;
use crate::store::fields::counts::FieldCounts;
use crate::store::query::stats::{RunCost, Totals};
use crate::store::query::tally::Counts;
use crate::store::{Filter, Result, Store};
use crate::task::{Origin, Reason, Review};

/// The most points of [`Growth`].
const MOST_POINTS: i64 = 96;

/// How many verbs and labels are named.
const MOST_NAMED: usize = 20;

/// How many objects of each verb are named.
const MOST_OBJECTS: usize = 8;

/// All figures of a dataset, for `stats`, the page and the report.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Figures {
    /// The size of the dataset.
    pub dataset: DatasetSize,
    /// Tasks by origin and review.
    pub origins: Vec<OriginCount>,
    /// The dataset by kinds of tasks and examples.
    pub balance: Balance,
    /// CandidateCounts, and what became of them.
    pub candidates: CandidateCounts,
    /// Reasons that could have rejected candidates, and rejected none.
    pub silent_reasons: Vec<String>,
    /// RequestTotals of all runs.
    pub requests: RequestTotals,
    /// The cost of each run, and the tasks it added.
    pub runs: Vec<RunCost>,
    /// Accepted and rejected instructions over the rounds of generation.
    pub growth: Growth,
    /// Instructions by length in characters, in steps of 25.
    pub instruction_lengths: Vec<Bucket>,
    /// Inputs by length in characters, in steps of 100; empty ones are not counted.
    pub input_lengths: Vec<Bucket>,
    /// Outputs by length in characters, in steps of 100.
    pub output_lengths: Vec<Bucket>,
    /// Tasks by ROUGE-L with their nearest neighbor in hundredths, in steps of 5.
    pub similarities: Vec<Bucket>,
    /// Outputs of classification tasks.
    pub labels: Labels,
    /// Instances by judge and score.
    pub scores: Vec<ScoreCount>,
    /// Verbs and objects of instructions.
    pub roots: RootCounts,
    /// Documents, and what their passages gave.
    pub documents: DocumentFigures,
    /// Verdicts of the user's validators.
    pub validators: Vec<ValidatorCounts>,
    /// How far judges agree with people and with each other.
    pub agreement: Agreement,
    /// Reviewers, what waits for them, and how far they agree.
    pub team: TeamFigures,
    /// Fields that people added, with the values that tasks of the dataset have.
    pub fields: Vec<FieldCounts>,
}

/// The size of the view `dataset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct DatasetSize {
    /// Tasks with at least one instance that were not rejected.
    pub tasks: i64,
    /// Their instances.
    pub examples: i64,
    /// Instances of accepted tasks.
    #[serde(rename = "accepted_examples")]
    pub accepted: i64,
    /// Instances of pending tasks.
    #[serde(rename = "pending_examples")]
    pub pending: i64,
    /// Tasks that are held out for evaluation.
    pub held_out: i64,
}

/// Tasks of one origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct OriginCount {
    /// The origin.
    pub origin: Origin,
    /// Not reviewed yet.
    pub pending: i64,
    /// Accepted by people.
    pub accepted: i64,
    /// Rejected by people or by a rule.
    pub rejected: i64,
}

/// The dataset by kinds of tasks and examples; rejected tasks are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Balance {
    /// Classification tasks.
    pub classification: i64,
    /// All others.
    pub other: i64,
    /// Instances with an input.
    pub with_input: i64,
    /// Instances without an input.
    pub without_input: i64,
}

/// All candidates: `parsed` = `accepted` + `rejected` + `fell`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CandidateCounts {
    /// All candidates.
    pub parsed: i64,
    /// Accepted by the filter.
    pub accepted: i64,
    /// Rejected by the filter, each for a reason of its own.
    pub rejected: i64,
    /// Instances that nothing speaks against but the rejection of their instruction, which counts
    /// already.
    #[serde(rename = "fell_with_instruction")]
    pub fell: i64,
    /// Tasks that people made of rejected candidates, which count as rejected all the same.
    pub rescued: i64,
    /// By kind, verdict and reason, the most frequent first.
    pub verdicts: Vec<VerdictCount>,
}

/// The number of candidates with one verdict.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct VerdictCount {
    /// `instruction` or `instance`.
    pub kind: String,
    /// `accepted` or `rejected`.
    pub verdict: String,
    /// Why they were rejected.
    pub reason: Option<String>,
    /// Their number.
    pub candidates: i64,
}

impl VerdictCount {
    /// Returns whether these are instances that fell with their instruction.
    pub fn fell(&self) -> bool {
        self.reason.as_deref() == Some(Reason::InstructionRejected.code())
    }
}

/// RequestTotals and their tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct RequestTotals {
    /// RequestTotals with a response.
    pub requests: i64,
    /// Tokens of all prompts.
    pub prompt_tokens: i64,
    /// Tokens of all responses.
    pub completion_tokens: i64,
}

/// Instructions over the rounds of generation.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Growth {
    /// Rounds per point: a power of two.
    pub rounds_per_point: i64,
    /// In order; rounds without candidates have no point.
    pub points: Vec<GrowthPoint>,
}

/// Accepted and rejected instructions of some consecutive rounds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct GrowthPoint {
    /// The first of the rounds.
    pub round: i64,
    /// When that round was admitted, in UTC.
    pub admitted_at: Option<String>,
    /// Instructions that became tasks.
    pub accepted: i64,
    /// Instructions that were rejected, by reason.
    pub rejected: BTreeMap<String, i64>,
}

/// A bar of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Bucket {
    /// The smallest value in the bar.
    pub from: i64,
    /// The number of values in it.
    pub count: i64,
}

/// Outputs of classification tasks, in any case.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Labels {
    /// The most frequent ones.
    pub most: Vec<LabelCount>,
    /// The number of different labels.
    pub different: i64,
    /// Examples with a label that is not among the most frequent.
    pub other: i64,
    /// Examples whose output is too long for a label.
    pub long: i64,
}

/// A label.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LabelCount {
    /// The output, in lower case.
    pub label: String,
    /// Examples with this label.
    pub examples: i64,
}

/// The number of instances with one score of one judge.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ScoreCount {
    /// The judge.
    pub model: String,
    /// 1 to 5; `None` for unreadable scores.
    pub score: Option<i64>,
    /// Instances with this score.
    pub instances: i64,
}

/// Root verbs of the dataset's instructions and their objects, see [`super::roots`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RootCounts {
    /// Tasks with a verb and an object.
    pub with_object: i64,
    /// Tasks with a verb only.
    pub verb_only: i64,
    /// Tasks without a verb.
    pub without: i64,
    /// The most frequent verbs.
    pub verbs: Vec<VerbCount>,
}

/// A verb.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct VerbCount {
    /// The verb in its base form.
    pub verb: String,
    /// Tasks with this verb, with an object or without.
    pub tasks: i64,
    /// Its most frequent objects.
    pub objects: Vec<ObjectCount>,
}

/// An object of a verb.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ObjectCount {
    /// The noun, in singular.
    pub noun: String,
    /// Tasks with this verb and object.
    pub tasks: i64,
}

impl RootCounts {
    /// Returns the pairs of verb and object, the most frequent first.
    pub fn pairs(&self) -> Vec<(&str, &ObjectCount)> {
        let mut pairs: Vec<_> = self
            .verbs
            .iter()
            .flat_map(|row| row.objects.iter().map(|object| (row.verb.as_str(), object)))
            .collect();
        pairs.sort_by_key(|(_, object)| std::cmp::Reverse(object.tasks));
        pairs
    }
}

impl Figures {
    /// Counts everything.
    ///
    /// # Errors
    ///
    /// When the dataset cannot be read.
    pub async fn load(store: &Store) -> Result<Figures> {
        let in_dataset = Filter {
            in_dataset: true,
            ..Filter::default()
        };
        Ok(Figures {
            documents: DocumentFigures::load(store).await?,
            validators: store.validator_counts().await?,
            team: TeamFigures::load(store, &Filter::default()).await?,
            fields: store.field_counts(&in_dataset, MOST_NAMED).await?,
            ..Figures::of(store.totals(super::roots::ROOTS, MOST_POINTS).await?)
        })
    }

    /// Derives the figures from the counts.
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
                held_out: totals.held_out,
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
            requests: RequestTotals {
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
            documents: DocumentFigures::default(),
            validators: Vec::new(),
            agreement: Agreement::of(&tasks.opinions),
            team: TeamFigures::default(),
            fields: Vec::new(),
            roots: root_counts(&tasks.roots, tasks.rootless),
            runs: totals.runs,
        }
    }
}

fn candidates(totals: &Totals) -> CandidateCounts {
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
    let sum = |verdict: &str| -> i64 {
        let rows = all.iter().filter(|row| row.verdict == verdict);
        rows.map(|row| row.candidates).sum()
    };
    let fell = all.iter().filter(|row| row.fell());
    let fell = fell.map(|row| row.candidates).sum();
    CandidateCounts {
        parsed: all.iter().map(|row| row.candidates).sum(),
        accepted: sum("accepted"),
        rejected: sum("rejected") - fell,
        fell,
        rescued: totals.rescued,
        verdicts: all,
    }
}

/// Returns the reasons that runs of `generate` had in their configuration and that no candidate
/// has.
fn silent_reasons(totals: &Totals, candidates: &CandidateCounts) -> Vec<String> {
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

/// Sorts the counts, the most frequent first.
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
        // Unreadable scores come last.
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
