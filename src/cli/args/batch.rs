//! Options for models that are asked through files.

use super::endpoint;
use crate::atomic_file;
use crate::backend::Backend;
use crate::cli::terminal::{clean, counted};
use crate::client::Client;
use crate::client::batch_backend::{BatchBackend, Counts};
use crate::client::results::Results;
use crate::pipeline::Ending;
use crate::pipeline::budget::{Budget, Spent};
use crate::store::Store;
use crate::text::chosen;
use anyhow::Result;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Damaged lines that are named; all are counted.
const MOST_NAMED: usize = 10;

/// Files in place of an endpoint.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Ask nobody: write the requests to this file, in the JSONL of OpenAI's batch service and vLLM's run-batch; `-` is standard
    /// output
    #[arg(
        long,
        value_name = "OUT.jsonl",
        group = "who",
        requires = "endpoint_model",
        conflicts_with = "max_minutes"
    )]
    pub batch_file: Option<PathBuf>,

    /// Results of such a file; may be given several times, and again
    #[arg(long, value_name = "IN.jsonl", requires = "batch_file", conflicts_with_all = ["endpoint", "model"])]
    pub batch_results: Vec<PathBuf>,

    /// Go on where lines of --batch-results are damaged, and ask for theirs again
    #[arg(long)]
    pub keep_going: bool,
}

/// Who is asked where no local model is.
pub enum Asked {
    /// Files, by `--batch-file`.
    Files(Box<BatchBackend>),
    /// An endpoint, or several.
    Endpoint(Box<Client>),
}

impl Args {
    /// The mailbox for `--batch-file`, with its results read; without it the endpoint.
    pub async fn asked(&self, at: &endpoint::Args) -> Result<Asked> {
        let Some(out) = &self.batch_file else {
            return at.client().await.map(|client| Asked::Endpoint(Box::new(client)));
        };
        let model = at.model()?;
        let results = Results::read(&self.batch_results, self.keep_going, &at.secrets()?)?;
        BatchBackend::new(model, at.api, at.shape()?, out, results)
            .map(|mailbox| Asked::Files(Box::new(mailbox)))
    }
}

impl Asked {
    /// Whoever it is.
    pub fn backend(&self) -> &dyn Backend {
        match self {
            Asked::Files(mailbox) => mailbox.as_ref(),
            Asked::Endpoint(client) => client.as_ref(),
        }
    }

    /// The mailbox, if it is one.
    pub fn mailbox(&self) -> Option<&BatchBackend> {
        match self {
            Asked::Files(mailbox) => Some(mailbox),
            Asked::Endpoint(_) => None,
        }
    }
}

/// What came of a run through files.
pub struct Posted {
    out: String,
    /// Requests that were written.
    pub written: u64,
    /// Requests that wait as well, and are beyond --max-requests.
    held_back: u64,
    counts: Counts,
    /// Answers of requests that neither this run nor an earlier one knows.
    unknown: u64,
    damaged: Vec<String>,
}

/// The part of a budget that is spent before anything is written: what the results cost, committed or not, so that the
/// same command again comes to the same end.
fn spent(mailbox: &BatchBackend, budget: &Budget) -> Option<Spent> {
    let counts = mailbox.counts();
    let tokens = counts.prompt_tokens + counts.completion_tokens;
    if budget.tokens.is_some_and(|most| tokens >= most) {
        return Some(Spent::Tokens);
    }
    let cost = budget.price.of(counts.prompt_tokens, counts.completion_tokens);
    budget
        .money
        .is_some_and(|most| cost >= most)
        .then_some(Spent::Money)
}

/// The end of a run through files: writes what waits to the file of requests, or removes a file of which nothing waits any
/// more. A run that waits, and may not spend more, ends for that reason.
pub async fn end(
    mailbox: &BatchBackend,
    ending: &mut Ending,
    waiting: &[String],
    budget: &Budget,
    store: &Store,
) -> Result<Posted> {
    let mut sent = waiting;
    if *ending != Ending::Waiting {
        sent = &[];
    } else if let Some(spent) = spent(mailbox, budget) {
        *ending = Ending::Budget(spent);
        sent = &[];
    }
    let written = mailbox.write(sent, budget.requests)?;
    let mut unknown = 0;
    for id in mailbox.unclaimed() {
        unknown += u64::from(store.answer(id).await?.is_none());
    }
    Ok(Posted {
        out: match atomic_file::is_stdout(mailbox.out()) {
            true => "standard output".to_owned(),
            false => mailbox.out().display().to_string(),
        },
        written,
        held_back: sent.len() as u64 - written,
        counts: mailbox.counts(),
        unknown,
        damaged: mailbox.damaged().to_vec(),
    })
}

impl Posted {
    /// For `--json`.
    pub fn to_json(&self) -> Value {
        json!({"file": self.out, "written": self.written, "held_back": self.held_back, "results": self.counts,
            "unknown": self.unknown})
    }

    /// What is worth a word about the results; on stderr, where something is wrong with them.
    pub fn warn(&self) {
        for line in self.damaged.iter().take(MOST_NAMED) {
            eprintln!("{}", clean(line));
        }
        let Counts {
            refused,
            reshaped,
            passing,
            repeated,
            damaged,
            ..
        } = self.counts;
        let many = |number: u64, one| counted(number as i64, one);
        let were = |number: u64, what| format!("{} {what}", chosen(number, "request was", "requests were"));
        if damaged > 0 {
            eprintln!("{}: skipped", many(damaged, "damaged line"));
        }
        if refused > 0 {
            eprintln!(
                "{}, and will not be asked again while its result is given",
                were(refused, "refused for good")
            );
        }
        if reshaped > 0 {
            eprintln!(
                "{} for a field that is sent no more; what is still needed is written again",
                were(reshaped, "refused")
            );
        }
        if let Some(error) = &self.counts.passing_error {
            eprintln!(
                "{} failed in passing; what is still needed is asked again: {}",
                many(passing, "request"),
                clean(error)
            );
        }
        if repeated > 0 {
            eprintln!(
                "{} for a request that had one already; the first counts",
                many(repeated, "result")
            );
        }
        if self.unknown > 0 {
            eprintln!(
                "{} to nothing that was asked\nhint: are they of another dataset, or was the model, the seed, the window or the recipe another?",
                many(self.unknown, "answer")
            );
        }
    }

    /// The last line for people.
    pub fn say(&self) {
        let held_back = match self.held_back {
            0 => String::new(),
            more => format!(" ({} beyond --max-requests)", chosen(more, "more is", "more are")),
        };
        println!(
            "stopped: {} in {}{held_back}; have them answered and run the same command with --batch-results FILE",
            chosen(self.written, "request waits", "requests wait"),
            self.out
        );
    }
}
