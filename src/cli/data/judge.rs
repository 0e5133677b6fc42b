//! `ewe judge`, and the quality pass of `ewe generate`.

use crate::backend::Backend;
use crate::cli::args::{batch, budget, endpoint, local, number};
use crate::cli::interrupt;
use crate::cli::terminal::{clean, counted, mean};
use crate::client::batch_backend::BatchBackend;
use crate::pipeline::Ending;
use crate::pipeline::futility::told;
use crate::pipeline::judge::{self, Config, Judged};
use crate::progress::{Progress, clock};
use crate::store::Store;
use crate::store::curation::judgment::Choice;
use crate::store::file::lock::WorkLock;
use crate::task::{Origin, Review};
use anyhow::Result;
use serde_json::json;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// Arguments of `ewe judge`.
#[derive(Debug, Clone, clap::Args)]
#[command(group = clap::ArgGroup::new("who").required(true), group = clap::ArgGroup::new("prices").multiple(true))]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// Ask this local model: a directory with config.json, safetensors, tokenizer.json
    #[arg(long, value_name = "DIR", group = "who")]
    pub model: Option<PathBuf>,

    /// A model behind endpoints.
    #[command(flatten)]
    pub at: endpoint::Args,

    /// Files in place of an endpoint.
    #[command(flatten)]
    pub batch_files: batch::Args,

    /// Only instances of tasks of this review: pending, accepted or rejected [default: all but rejected]
    #[arg(long)]
    pub review: Option<Review>,

    /// Only instances of tasks of this origin: seed, machine or import [default: all but seeds]
    #[arg(long)]
    pub origin: Option<Origin>,

    /// Judge at most this many instances
    #[arg(long, value_name = "N", value_parser = number::count)]
    pub limit: Option<u64>,

    /// Limits.
    #[command(flatten)]
    pub budget: budget::Args,

    /// Where a local model runs.
    #[command(flatten)]
    pub place: local::Place,

    /// What it may use.
    #[command(flatten)]
    pub engine: local::Engine,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// A dataset that is open, with the right to add judgments.
pub struct Judge {
    store: Store,
    _lock: WorkLock,
}

/// Opens the dataset before a model is loaded, so that what is wrong with it is said at once.
pub async fn open(args: &Args) -> Result<Judge> {
    let store = Store::open(&args.db).await?;
    let lock = store.lock_for_judge().await?;
    Ok(Judge { store, _lock: lock })
}

/// Asks an endpoint, or files.
pub async fn run(args: &Args, quiet: bool) -> Result<u8> {
    let asked = args.batch_files.asked(&args.at).await?;
    open(args)
        .await?
        .run(args, quiet, asked.backend(), asked.mailbox())
        .await
}

impl Judge {
    /// Has instances judged by `backend`, which may be this mailbox; the exit code says whether it was stopped.
    pub async fn run(
        self,
        args: &Args,
        quiet: bool,
        backend: &dyn Backend,
        mailbox: Option<&BatchBackend>,
    ) -> Result<u8> {
        let start = Instant::now();
        let config = Config {
            choice: Choice {
                origin: args.origin,
                review: args.review,
            },
            limit: args.limit,
            budget: args.budget.budget(),
        };
        let result = async {
            let quietly = quiet || args.json;
            let interrupted = interrupt::on_signal()?;
            let (mut ending, mut judged) = pass(&self.store, &config, backend, &interrupted, quietly).await?;
            let mut posted = None;
            if let (Some(mailbox), true) = (mailbox, ending != Ending::Interrupted) {
                let sent =
                    batch::end(mailbox, &mut ending, &judged.waiting, &config.budget, &self.store).await?;
                judged.requests = sent.written;
                if !quiet {
                    sent.warn();
                }
                posted = Some(sent);
            }
            anyhow::Ok((ending, judged, posted))
        }
        .await;
        self.store.close().await;
        let (ending, judged, posted) = result?;
        if args.json {
            let mut said = to_json(&judged);
            said["ending"] = word(ending).into();
            said["budget"] = match ending {
                Ending::Budget(spent) => spent.as_str().into(),
                _ => serde_json::Value::Null,
            };
            if let Some(posted) = &posted {
                said["batch"] = posted.to_json();
            }
            println!("{}", crate::cli::args::json::value(&said));
        } else {
            println!(
                "{}: {}, {}",
                args.db.display(),
                sentence(&judged),
                clock(start.elapsed())
            );
            warn(&judged);
            match ending {
                Ending::Budget(spent) => println!(
                    "stopped: the budget of {} is spent; the same command goes on",
                    spent.as_str()
                ),
                Ending::Waiting => posted.iter().for_each(batch::Posted::say),
                Ending::Interrupted => println!("stopped: interrupted; the same command goes on"),
                Ending::Target | Ending::Saturated => {}
            }
        }
        Ok(if ending == Ending::Interrupted { 130 } else { 0 })
    }
}

fn word(ending: Ending) -> &'static str {
    match ending {
        Ending::Target | Ending::Saturated => "done",
        Ending::Budget(_) => "budget",
        Ending::Waiting => "waiting",
        Ending::Interrupted => "interrupted",
    }
}

/// Runs a pass and shows how far it is.
pub(in crate::cli) async fn pass(
    store: &Store,
    config: &Config,
    backend: &dyn Backend,
    interrupted: &AtomicBool,
    quiet: bool,
) -> Result<(Ending, Judged)> {
    let mut bar = None;
    let mut last = Judged::default();
    let mut show = |now: &Judged| {
        let bar = bar.get_or_insert_with(|| Progress::new("judge", "instance", 0, now.total, quiet));
        let average = now
            .mean()
            .map_or(String::new(), |score| format!(", mean {score:.2}"));
        bar.set(
            now.judged(),
            &format!("{} unreadable, {} failed{average}", now.unreadable, now.failed),
        );
        last = now.clone();
    };
    let ending = judge::judge(store, config, backend, interrupted, &mut show).await;
    if let Some(bar) = bar {
        bar.finish();
    }
    Ok((ending?, last))
}

/// What came of a pass, for people.
pub(in crate::cli) fn sentence(judged: &Judged) -> String {
    let scores = judged
        .scores
        .iter()
        .zip(1..)
        .map(|(count, score)| format!("{score}: {count}"));
    let average = judged
        .mean()
        .map_or("-".to_string(), |score| mean((score * 10.0).round() / 10.0));
    format!(
        "{} of {} judged by {} ({}; {} unreadable; mean {average}); {}, {}",
        judged.judged(),
        counted(judged.total as i64, "instance"),
        clean(&judged.model),
        scores.collect::<Vec<_>>().join(", "),
        judged.unreadable,
        counted(judged.requests, "request"),
        counted(judged.prompt_tokens + judged.completion_tokens, "token")
    )
}

/// Says on stderr what could not be asked, and why there is no score at all.
pub(in crate::cli) fn warn(judged: &Judged) {
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

/// What came of a pass, for programs.
pub(in crate::cli) fn to_json(judged: &Judged) -> serde_json::Value {
    let mut said = json!(judged);
    said["judged"] = judged.judged().into();
    said["mean"] = judged.mean().into();
    said["complaints"] = complaints(&judged.complaints);
    said
}

/// What was said about requests that brought nothing, for programs.
pub(in crate::cli) fn complaints(said: &[(u64, String)]) -> serde_json::Value {
    said.iter()
        .map(|(count, words)| json!({"count": count, "words": words}))
        .collect()
}
