//! `ewe judge`, and the quality pass of `ewe generate`.

use crate::backend::Backend;
use crate::choice::JudgedBy;
use crate::cli::args::{batch, budget, endpoint, local, number};
use crate::cli::interrupt;
use crate::cli::terminal::{clean, counted, mean};
use crate::client::batch_backend::BatchBackend;
use crate::generate::rubric;
use crate::next::NextCommands;
use crate::pipeline::Ending;
use crate::pipeline::batch::BatchSummary;
use crate::pipeline::commands::{self, JudgeRequest, Judged};
use crate::pipeline::futility::told;
use crate::pipeline::judge::{JudgeConfig, JudgeProgress};
use crate::progress::{ProgressMeter, clock};
use crate::prompt::rubric::Rubric;
use crate::store::Store;
use crate::store::curation::judgment::JudgeSelection;
use crate::store::file::lock::WorkLock;
use crate::task::{Origin, Review};
use crate::text::shell_word;
use anyhow::Result;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Arguments of `ewe judge`.
#[derive(Debug, Clone, clap::Args)]
#[command(group = clap::ArgGroup::new("who").required(true), group = clap::ArgGroup::new("prices").multiple(true))]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// Run this model locally: a directory with config.json, safetensors, tokenizer.json
    #[arg(long, value_name = "DIR", group = "who")]
    pub model: Option<PathBuf>,

    /// The endpoint of the model.
    #[command(flatten)]
    pub at: endpoint::Args,

    /// Batch files instead of an endpoint.
    #[command(flatten)]
    pub batch_files: batch::Args,

    /// Only instances of tasks with this review: pending, accepted or rejected [default: all but
    /// rejected]
    #[arg(long)]
    pub review: Option<Review>,

    /// Only instances of tasks with this origin: seed, machine or import [default: all but seeds]
    #[arg(long)]
    pub origin: Option<Origin>,

    /// Judge at most this many instances
    #[arg(long, value_name = "N", value_parser = number::count)]
    pub limit: Option<u64>,

    /// What a score is: the one that the judge writes, or the mean of all scores, each weighted by
    /// how likely the judge finds it; the latter needs a server with logprobs
    #[arg(long, value_enum, default_value = "text")]
    pub by: JudgedBy,

    /// Judge by a rubric of your own, a TOML file with criteria, weights, scales and examples, in
    /// place of one score from 1 to 5
    #[arg(long, value_name = "FILE")]
    pub rubric: Option<PathBuf>,

    /// The budget.
    #[command(flatten)]
    pub budget: budget::Args,

    /// The device of a local model.
    #[command(flatten)]
    pub place: local::DeviceArgs,

    /// The limits of a local model.
    #[command(flatten)]
    pub engine: local::EngineArgs,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// An open dataset, locked for judging.
pub struct JudgedDataset {
    store: Store,
    rubric: Option<Rubric>,
    _lock: WorkLock,
}

/// Opens the dataset. This comes before a model is loaded, so that errors show at once.
///
/// Boxed: a bare future would be compiled again in `ewe-torch`.
pub fn open(args: &Args) -> LocalBoxFuture<'_, Result<JudgedDataset>> {
    open_dataset(args).boxed_local()
}

async fn open_dataset(args: &Args) -> Result<JudgedDataset> {
    let rubric = args.rubric.as_deref().map(rubric::read).transpose()?;
    let store = Store::open(&args.db).await?;
    let lock = store.lock_for_judge().await?;
    Ok(JudgedDataset {
        store,
        rubric,
        _lock: lock,
    })
}

/// Judges with the model behind an endpoint, or with batch files.
pub async fn run(args: &Args, quiet: bool) -> Result<u8> {
    super::with_backend(
        &args.batch_files,
        &args.at,
        open(args),
        async |dataset: JudgedDataset, backend: &dyn Backend, batch: Option<&BatchBackend>| {
            dataset.run(args, quiet, backend, batch).await
        },
    )
    .await
}

impl JudgedDataset {
    /// Judges with `backend`, which `batch` is as well if it is for batch files. Returns the exit
    /// code.
    pub fn run<'a>(
        self,
        args: &'a Args,
        quiet: bool,
        backend: &'a dyn Backend,
        batch: Option<&'a BatchBackend>,
    ) -> LocalBoxFuture<'a, Result<u8>> {
        self.run_to_end(args, quiet, backend, batch).boxed_local()
    }

    async fn run_to_end(
        self,
        args: &Args,
        quiet: bool,
        backend: &dyn Backend,
        batch: Option<&BatchBackend>,
    ) -> Result<u8> {
        let start = Instant::now();
        let result = self.judge(args, quiet, backend, batch).await;
        self.store.close().await;
        let judged = result?;
        if let (Some(batch), false) = (&judged.batch, quiet) {
            batch.warn();
        }
        report(args, &judged, start);
        if !args.json && judged.progress.mean().is_some() && judged.ending != Ending::Interrupted {
            after_judging(&args.db).say(quiet);
        }
        Ok(if judged.ending == Ending::Interrupted {
            130
        } else {
            0
        })
    }

    /// Runs the command and shows its progress.
    async fn judge(
        &self,
        args: &Args,
        quiet: bool,
        backend: &dyn Backend,
        batch: Option<&BatchBackend>,
    ) -> Result<Judged> {
        let config = JudgeConfig {
            choice: JudgeSelection {
                origin: args.origin,
                review: args.review,
            },
            limit: args.limit,
            by: args.by,
            rubric: self.rubric.clone(),
            budget: args.budget.budget(),
        };
        let request = JudgeRequest {
            config: &config,
            backend,
            batch,
        };
        let interrupted = interrupt::on_signal()?;
        let mut bar = JudgeBar::new(quiet || args.json);
        let mut show = |now: &JudgeProgress| bar.show(now);
        let result = commands::judge(&self.store, &request, &interrupted, &mut show).await;
        bar.finish();
        result
    }
}

/// Prints the result of a command that began at `start`.
fn report(args: &Args, judged: &Judged, start: Instant) {
    let Judged {
        ending,
        progress,
        batch,
    } = judged;
    if args.json {
        let mut said = to_json(progress);
        said["ending"] = word(*ending).into();
        said["budget"] = match ending {
            Ending::Budget(spent) => spent.as_str().into(),
            _ => serde_json::Value::Null,
        };
        if let Some(batch) = batch {
            said["batch"] = batch.to_json();
        }
        println!("{}", crate::streams::json::value(&said));
        return;
    }
    println!(
        "{}: {}, {}",
        args.db.display(),
        sentence(progress),
        clock(start.elapsed())
    );
    warn(progress);
    match ending {
        Ending::Budget(spent) => println!(
            "stopped: the budget of {} is spent; the same command goes on",
            spent.as_str()
        ),
        Ending::Waiting => batch.iter().for_each(BatchSummary::say),
        Ending::Interrupted => println!("stopped: interrupted; the same command goes on"),
        Ending::Target | Ending::Saturated => {}
    }
}

/// What to do with scores.
fn after_judging(db: &Path) -> NextCommands {
    let db = shell_word(db);
    NextCommands::default()
        .with(
            format!("ewe list --db {db} --max-score 2 --sort score"),
            "the worst first",
        )
        .with(format!("ewe curate --db {db}"), "review them")
}

/// The ending in JSON.
fn word(ending: Ending) -> &'static str {
    match ending {
        Ending::Target | Ending::Saturated => "done",
        Ending::Budget(_) => "budget",
        Ending::Waiting => "waiting",
        Ending::Interrupted => "interrupted",
    }
}

/// Shows the progress of judging. The bar begins with the first call of [`JudgeBar::show`].
pub(super) struct JudgeBar {
    quiet: bool,
    bar: Option<ProgressMeter>,
}

impl JudgeBar {
    /// Makes a bar that shows nothing if `quiet`.
    pub(super) fn new(quiet: bool) -> JudgeBar {
        JudgeBar { quiet, bar: None }
    }

    /// Shows the progress.
    pub(super) fn show(&mut self, now: &JudgeProgress) {
        let new = || ProgressMeter::new("judge", "instance", 0, now.total, self.quiet);
        let average = now
            .mean()
            .map_or(String::new(), |score| format!(", mean {score:.2}"));
        self.bar.get_or_insert_with(new).set(
            now.judged(),
            &format!("{} unreadable, {} failed{average}", now.unreadable, now.failed),
        );
    }

    /// Removes the bar.
    pub(super) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish();
        }
    }
}

/// The result as a sentence.
pub(in crate::cli) fn sentence(judged: &JudgeProgress) -> String {
    let scores = judged
        .scores
        .iter()
        .zip(1..)
        .map(|(count, score)| format!("{score}: {count}"));
    let average = judged
        .mean()
        .map_or("-".to_string(), |score| mean((score * 10.0).round() / 10.0));
    let criteria: Vec<String> = judged
        .criteria_means()
        .into_iter()
        .map(|(name, mean)| format!("; {name} {mean:.2}"))
        .collect();
    format!(
        "{} of {} judged by {} ({}; {} unreadable; mean {average}{}); {}, {}",
        judged.judged(),
        counted(judged.total as i64, "instance"),
        clean(&judged.model),
        scores.collect::<Vec<_>>().join(", "),
        judged.unreadable,
        criteria.concat(),
        counted(judged.requests, "request"),
        counted(judged.prompt_tokens + judged.completion_tokens, "token")
    )
}

/// Prints to stderr which requests failed, and why there is no score at all.
pub(in crate::cli) fn warn(judged: &JudgeProgress) {
    if let (None, 1.., Some(told)) = (judged.mean(), judged.unreadable, told(&judged.complaints)) {
        eprintln!(
            "no score came of {}: {}",
            counted(judged.requests as i64, "request"),
            clean(&told)
        );
    }
    if let Some(failure) = &judged.failure {
        eprintln!(
            "{} could not be judged, and will be tried again by the next pass: {}",
            counted(judged.failed as i64, "instance"),
            clean(failure)
        );
    }
}

/// The result as JSON.
pub(in crate::cli) fn to_json(judged: &JudgeProgress) -> serde_json::Value {
    let mut said = json!(judged);
    said["judged"] = judged.judged().into();
    said["mean"] = judged.mean().into();
    if judged.rubric.is_some() {
        let means = judged.criteria_means().into_iter();
        said["criteria"] = means
            .map(|(name, mean)| (name.to_string(), json!(mean)))
            .collect();
    }
    said["complaints"] = complaints(&judged.complaints);
    said
}

/// Complaints about requests in vain as JSON.
pub(in crate::cli) fn complaints(said: &[(u64, String)]) -> serde_json::Value {
    said.iter()
        .map(|(count, words)| json!({"count": count, "words": words}))
        .collect()
}
