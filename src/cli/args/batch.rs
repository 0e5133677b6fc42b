//! Options for models that are used through batch files.

use super::endpoint;
use crate::backend::Backend;
use crate::cli::terminal::{clean, counted};
use crate::client::Client;
use crate::client::batch_backend::{BatchBackend, Counts};
use crate::client::batch_results::Results;
use crate::client::endpoint::Api;
use crate::pipeline::batch::{BatchSummary, prompt_tokens};
use crate::text::chosen;
use anyhow::Result;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

/// How many damaged lines are named. All are counted.
const MOST_NAMED: usize = 10;

/// The batch files that stand for an endpoint.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Batch files")]
pub struct Files {
    /// Contact no model: write the requests to this file, in the JSONL of OpenAI's batch service
    /// and vLLM's run-batch; `-` is standard output
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
}

/// Options for batch files in place of an endpoint.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Batch files")]
pub struct Args {
    /// The files.
    #[command(flatten)]
    pub files: Files,

    /// Skip damaged lines of --batch-results, and write their requests again
    #[arg(long)]
    pub keep_going: bool,
}

/// The backend, if there is no local model.
pub enum ApiBackend {
    /// Batch files, by `--batch-file`.
    BatchFiles(Box<BatchBackend>),
    /// One endpoint or several.
    Endpoint(Box<Client>),
}

impl Files {
    /// Reads the results.
    ///
    /// # Errors
    ///
    /// As [`Results::read`].
    pub fn results(&self, keep_going: bool, at: &endpoint::Args) -> Result<Results> {
        Results::read(&self.batch_results, keep_going, &at.secrets()?)
    }

    /// Returns backends for questions to these models of the service, in order, by the same files;
    /// none without `--batch-file`. Unlike texts, questions are asked as chat unless `--api` is
    /// completions.
    ///
    /// # Errors
    ///
    /// As [`Results::read`] and [`BatchBackend::new`].
    pub fn question_backends(
        &self,
        models: &[&str],
        keep_going: bool,
        at: &endpoint::Args,
    ) -> Result<Vec<Arc<BatchBackend>>> {
        let Some(out) = &self.batch_file else {
            return Ok(Vec::new());
        };
        let results = Arc::new(self.results(keep_going, at)?);
        let api = match at.api {
            Api::Auto => Api::Chat,
            api => api,
        };
        let backend =
            |model: &&str| BatchBackend::new(model, api, at.shape()?, out, results.clone()).map(Arc::new);
        models.iter().map(backend).collect()
    }
}

impl Args {
    /// Returns the batch backend for `--batch-file`, with its results read, or else the client.
    pub async fn backend(&self, at: &endpoint::Args) -> Result<ApiBackend> {
        let Some(out) = &self.files.batch_file else {
            return at
                .client()
                .await
                .map(|client| ApiBackend::Endpoint(Box::new(client)));
        };
        let model = at.model()?;
        let results = self.files.results(self.keep_going, at)?;
        BatchBackend::new(model, at.api, at.shape()?, out, results)
            .map(|batch| ApiBackend::BatchFiles(Box::new(batch)))
    }
}

impl ApiBackend {
    /// Returns it as a backend.
    pub fn backend(&self) -> &dyn Backend {
        match self {
            ApiBackend::BatchFiles(batch) => batch.as_ref(),
            ApiBackend::Endpoint(client) => client.as_ref(),
        }
    }

    /// Returns the batch backend, if it is one.
    pub fn batch_files(&self) -> Option<&BatchBackend> {
        match self {
            ApiBackend::BatchFiles(batch) => Some(batch),
            ApiBackend::Endpoint(_) => None,
        }
    }
}

impl BatchSummary {
    /// Returns the result for `--json`.
    pub fn to_json(&self) -> Value {
        json!({"file": self.out, "written": self.written.requests, "about_prompt_tokens": prompt_tokens(&self.written),
            "most_answer_tokens": self.written.most_tokens, "most_cost": self.cost, "held_back": self.held_back,
            "results": self.counts, "unknown": self.unknown})
    }

    /// Prints warnings about the results to stderr.
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

    /// Prints the last line.
    pub fn say(&self) {
        let held_back = match self.held_back {
            0 => String::new(),
            more => format!(" ({} beyond --max-requests)", chosen(more, "more is", "more are")),
        };
        println!(
            "stopped: {} in {}{held_back}; have them answered and run the same command with --batch-results FILE",
            chosen(self.written.requests, "request waits", "requests wait"),
            self.out
        );
        let cost = self
            .cost
            .map(|cost| format!(": at most {cost:.2} by --price-in and --price-out"));
        println!(
            "to be paid for: about {} of prompts, by their length, and at most {} of answers{}",
            counted(prompt_tokens(&self.written) as i64, "token"),
            counted(self.written.most_tokens as i64, "token"),
            cost.unwrap_or_default()
        );
    }
}
