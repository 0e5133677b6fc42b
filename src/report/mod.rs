//! Figures about a dataset, and pictures of them. Every figure is a count that one can repeat in SQL.
//!
//! - [`Figures`]: the counts.
//! - [`chart`]: SVG of them.
//! - [`page`]: one HTML file with all of it.

pub mod chart;
pub mod page;

use crate::{
    store::{
        Result, Store,
        judgment::ScoreCount,
        stats::{Balance, Bucket, RoundCount, RunCost, VerdictCount, WordCount},
    },
    task::{Origin, Review},
};

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
    /// Rounds of generation in order.
    pub rounds: Vec<RoundCount>,
    /// Instructions by length in characters, in steps of 25.
    pub instruction_lengths: Vec<Bucket>,
    /// Outputs by length in characters, in steps of 100.
    pub output_lengths: Vec<Bucket>,
    /// Tasks by ROUGE-L with their nearest neighbour in hundredths, in steps of 5.
    pub similarities: Vec<Bucket>,
    /// Instances by judge and score.
    pub scores: Vec<ScoreCount>,
    /// The most frequent first words of instructions, mostly verbs.
    pub first_words: Vec<WordCount>,
}

/// The view `dataset` in two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct DatasetSize {
    /// Tasks with at least one instance that were not rejected.
    pub tasks: i64,
    /// Their instances.
    pub examples: i64,
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

/// Everything ever parsed out of a response: `parsed` = `accepted` + `rejected`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Candidates {
    /// All of them.
    pub parsed: i64,
    /// Let through by the filter.
    pub accepted: i64,
    /// Turned away.
    pub rejected: i64,
    /// By kind, verdict and reason.
    pub verdicts: Vec<VerdictCount>,
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

impl Figures {
    /// Counts.
    pub async fn load(store: &Store) -> Result<Figures> {
        let balance = store.balance().await?;
        let counts = store.task_counts().await?;
        let verdicts = store.verdict_counts().await?;
        let runs = store.run_costs().await?;
        let tasks_of = |origin: Origin, review: Review| -> i64 {
            counts
                .iter()
                .filter(|row| row.origin == origin && row.review == review)
                .map(|row| row.tasks)
                .sum()
        };
        let verdict = |word: &str| -> i64 {
            verdicts
                .iter()
                .filter(|row| row.verdict == word)
                .map(|row| row.candidates)
                .sum()
        };
        Ok(Figures {
            dataset: DatasetSize {
                tasks: balance.classification + balance.other,
                examples: balance.with_input + balance.without_input,
            },
            origins: Origin::ALL
                .into_iter()
                .map(|origin| OriginCount {
                    origin,
                    pending: tasks_of(origin, Review::Pending),
                    accepted: tasks_of(origin, Review::Accepted),
                    rejected: tasks_of(origin, Review::Rejected),
                })
                .collect(),
            balance,
            candidates: Candidates {
                parsed: verdicts.iter().map(|row| row.candidates).sum(),
                accepted: verdict("accepted"),
                rejected: verdict("rejected"),
                verdicts,
            },
            silent_reasons: store.silent_reasons().await?,
            requests: Requests {
                requests: runs.iter().map(|run| run.requests).sum(),
                prompt_tokens: runs.iter().map(|run| run.prompt_tokens).sum(),
                completion_tokens: runs.iter().map(|run| run.completion_tokens).sum(),
            },
            runs,
            rounds: store.rounds().await?,
            instruction_lengths: store.instruction_lengths().await?,
            output_lengths: store.output_lengths().await?,
            similarities: store.similarities().await?,
            scores: store.score_counts().await?,
            first_words: store.first_words(20).await?,
        })
    }
}
