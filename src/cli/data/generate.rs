//! `ewe generate`

use crate::backend::Backend;
use crate::cli::args::live::Live;
use crate::cli::args::{batch, budget, endpoint, local, number, quality, recipe};
use crate::cli::interrupt;
use crate::cli::terminal::{clean, counted};
use crate::client::Client;
use crate::client::batch_backend::BatchBackend;
use crate::filter::Threshold;
use crate::filter::rules::RuleSet;
use crate::pipeline::futility::told;
use crate::pipeline::judge::{self, Judged};
use crate::pipeline::{self, Ending};
use crate::progress::clock;
use crate::store::Store;
use crate::store::curation::judgment::Choice;
use crate::store::file::lock::WorkLock;
use crate::task::Origin;
use anyhow::Result;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Arguments of `ewe generate`.
#[derive(Debug, Clone, clap::Args)]
#[command(group = clap::ArgGroup::new("who").required(true), group = clap::ArgGroup::new("prices").multiple(true))]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// How many machine-made tasks the dataset shall have
    #[arg(long, value_name = "N", value_parser = number::some)]
    pub target: u64,

    /// Ask this model here: a directory (config.json, weights, tokenizer), or an id on the Hugging Face hub
    #[arg(long, value_name = "DIR|HF_ID", group = "who")]
    pub model: Option<PathBuf>,

    /// A model behind endpoints.
    #[command(flatten)]
    pub at: endpoint::Args,

    /// Files in place of an endpoint.
    #[command(flatten)]
    pub batch_files: batch::Args,

    /// Seeds all randomness; the same seed goes on where it stopped
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// Rounds that run side by side; round k is prompted from what was accepted up to round k - N [default: 8, and 512
    /// with --batch-file]
    #[arg(long, value_name = "N", default_value_t = 8, hide_default_value = true,
        default_value_if("batch_file", clap::builder::ArgPredicate::IsPresent, "512"),
        value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub window: u64,

    /// ROUGE-L F1 above which two instructions count as the same
    #[arg(long, value_name = "F1", default_value = "0.7")]
    pub threshold: Threshold,

    /// Rules over instructions and instances: self-instruct, alpaca, default, none (near-duplicates only), or a TOML file
    #[arg(long, value_name = "SET|FILE", default_value = "default")]
    pub rules: String,

    /// Limits.
    #[command(flatten)]
    pub budget: budget::Args,

    /// Stop when less than this part of the last 500 instructions that the rules let through was new; 0 never does
    #[arg(long, value_name = "PART", default_value_t = 0.02, value_parser = number::part)]
    pub min_novelty: f64,

    /// How to prompt.
    #[command(flatten)]
    pub recipe: recipe::Args,

    /// Have the new instances judged by a model.
    #[command(flatten)]
    pub judge: quality::Args,

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

impl Args {
    fn config(&self) -> Result<pipeline::Config> {
        let recipe = self.recipe.recipe()?;
        Ok(pipeline::Config {
            target: self.target,
            seed: self.seed,
            window: self.window,
            threshold: self.threshold,
            rules: RuleSet::read(&self.rules)?,
            budget: self.budget.budget(),
            min_novelty: self.min_novelty,
            evolve: self.recipe.evolve(&recipe)?,
            recipe,
            topics: self.recipe.topics()?,
        })
    }
}

/// A dataset that is open, with the right to grow it.
pub struct Grow {
    config: pipeline::Config,
    store: Store,
    /// The judge that is not the model which writes the tasks.
    judge: Option<Client>,
    _locks: (WorkLock, Option<WorkLock>),
}

/// Reads the options and opens the dataset before a model is loaded, so that what is wrong with them is said at once.
pub async fn open(args: &Args) -> Result<Grow> {
    let config = args.config()?;
    let judge = args.judge.client(&args.at).await?;
    let store = Store::open(&args.db).await?;
    let lock = store.lock_for_generate().await?;
    let judges = match args.judge.is_wanted() {
        true => Some(store.lock_for_judge().await?),
        false => None,
    };
    Ok(Grow {
        config,
        store,
        judge,
        _locks: (lock, judges),
    })
}

/// Asks an endpoint, or files.
pub async fn run(args: &Args, quiet: bool) -> Result<u8> {
    let asked = args.batch_files.asked(&args.at).await?;
    open(args)
        .await?
        .run(args, quiet, asked.backend(), asked.mailbox())
        .await
}

impl Grow {
    /// Grows the dataset with `backend`, which may be this mailbox; the exit code says whether it was stopped.
    pub async fn run(
        self,
        args: &Args,
        quiet: bool,
        backend: &dyn Backend,
        mailbox: Option<&BatchBackend>,
    ) -> Result<u8> {
        let result = self.work(args, quiet, backend, mailbox).await;
        self.store.close().await;
        Ok(result?.report(args))
    }

    async fn work(
        &self,
        args: &Args,
        quiet: bool,
        backend: &dyn Backend,
        mailbox: Option<&BatchBackend>,
    ) -> Result<Grown> {
        let interrupted = interrupt::on_signal()?;
        let mut grown = grow(&self.store, &self.config, args, quiet, backend, &interrupted).await?;
        let is_grown = matches!(grown.ending, Ending::Target | Ending::Saturated);
        if args.judge.is_wanted() && is_grown {
            let judge = match &self.judge {
                Some(client) => client,
                None => backend,
            };
            let last = &grown.last;
            let config = judge::Config {
                choice: Choice {
                    origin: Some(Origin::Machine),
                    review: None,
                },
                limit: None,
                budget: self
                    .config
                    .budget
                    .less(last.requests, last.tokens(), last.cost, grown.time),
            };
            let quiet = quiet || args.json;
            let (ending, judged) =
                super::judge::pass(&self.store, &config, judge, &interrupted, quiet).await?;
            if ending != Ending::Target {
                grown.ending = ending;
            }
            grown.last.waiting.clone_from(&judged.waiting);
            grown.judged = Some(judged);
        }
        if let (Some(mailbox), true) = (mailbox, grown.ending != Ending::Interrupted) {
            let waiting = &grown.last.waiting;
            let posted = batch::end(
                mailbox,
                &mut grown.ending,
                waiting,
                &self.config.budget,
                &self.store,
            )
            .await?;
            grown.last.requests = posted.written;
            if !quiet {
                posted.warn();
            }
            grown.posted = Some(posted);
        }
        Ok(grown)
    }
}

/// What came of a run.
struct Grown {
    ending: Ending,
    last: pipeline::Progress,
    /// Machine-made tasks that were there before.
    had: u64,
    time: Duration,
    /// What came of the files, where there are some.
    posted: Option<batch::Posted>,
    /// What came of the quality pass.
    judged: Option<Judged>,
}

async fn grow(
    store: &Store,
    config: &pipeline::Config,
    args: &Args,
    quiet: bool,
    backend: &dyn Backend,
    interrupted: &AtomicBool,
) -> Result<Grown> {
    let start = Instant::now();
    let had = store.accepted_machine_tasks().await?;
    let mut live = Live::new(had, args.target, args.json, args.budget.is_priced(), quiet);
    let mut last = pipeline::Progress {
        accepted: had,
        target: args.target,
        ..Default::default()
    };
    let mut show = |now: &pipeline::Progress| {
        live.show(now);
        last = now.clone();
    };
    let ending = pipeline::grow(store, config, backend, interrupted, &mut show).await;
    live.finish();
    Ok(Grown {
        ending: ending?,
        last,
        had,
        time: start.elapsed(),
        posted: None,
        judged: None,
    })
}

impl Grown {
    /// Prints it; returns the exit code.
    fn report(&self, args: &Args) -> u8 {
        let Grown {
            ending, last, had, ..
        } = self;
        if args.json {
            println!("{}", crate::cli::args::json::value(&self.to_json()));
        } else {
            println!(
                "{}: {}, {} of them new; {} rejected, {}, {}, {}",
                args.db.display(),
                counted(last.accepted, "machine-made task"),
                last.accepted - had,
                counted(last.rejections(), "candidate"),
                counted(last.requests, "request"),
                counted(last.tokens(), "token"),
                clock(self.time)
            );
            if let (true, Some(told)) = (last.accepted == *had, told(&last.complaints)) {
                eprintln!(
                    "nothing new came of {}: {}",
                    counted(last.requests as i64, "request"),
                    clean(&told)
                );
            }
            if let Some(judged) = &self.judged {
                println!("{}: {}", args.db.display(), super::judge::sentence(judged));
                super::judge::warn(judged);
            }
            match ending {
                Ending::Target => {}
                Ending::Budget(spent) => println!(
                    "stopped: the budget of {} is spent; the same command may spend as much again and goes on",
                    spent.as_str()
                ),
                Ending::Saturated => println!(
                    "stopped: {:.1} % of the last instructions were new, less than --min-novelty {}; more seeds, another \
                     model or a lower --min-novelty may bring more",
                    100.0 * last.novelty.unwrap_or_default(),
                    args.min_novelty
                ),
                Ending::Waiting => self.posted.iter().for_each(batch::Posted::say),
                Ending::Interrupted => println!("stopped: interrupted; the same command goes on"),
            }
        }
        if *ending == Ending::Interrupted { 130 } else { 0 }
    }

    fn to_json(&self) -> serde_json::Value {
        let last = &self.last;
        let word = match self.ending {
            Ending::Target => "target",
            Ending::Budget(_) => "budget",
            Ending::Saturated => "saturated",
            Ending::Waiting => "waiting",
            Ending::Interrupted => "interrupted",
        };
        let spent = match self.ending {
            Ending::Budget(spent) => Some(spent.as_str()),
            _ => None,
        };
        let mut json = serde_json::json!({"ending": word, "budget": spent, "accepted": last.accepted,
            "new": last.accepted - self.had, "rejected": last.rejections(), "rejected_by_reason": last.rejected,
            "novelty": last.novelty, "requests": last.requests, "tokens": last.tokens(),
            "prompt_tokens": last.prompt_tokens, "completion_tokens": last.completion_tokens, "cost": last.cost,
            "complaints": super::judge::complaints(&last.complaints)});
        if let Some(posted) = &self.posted {
            json["batch"] = posted.to_json();
        }
        if let Some(judged) = &self.judged {
            json["judge"] = super::judge::to_json(judged);
        }
        json
    }
}
