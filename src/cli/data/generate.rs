//! `ewe generate`

use super::judge::JudgeBar;
use crate::backend::Backend;
use crate::cli::args::live::Live;
use crate::cli::args::{batch, budget, endpoint, local, number, quality, recipe, validator};
use crate::cli::interrupt;
use crate::cli::terminal::{clean, counted};
use crate::client::Client;
use crate::client::batch_backend::BatchBackend;
use crate::filter::Threshold;
use crate::filter::rules::RuleSet;
use crate::generate::round::Part;
use crate::next::NextCommands;
use crate::pipeline::batch::BatchSummary;
use crate::pipeline::commands::{self, GenerateEvent, GenerateRequest, Generated};
use crate::pipeline::futility::told;
use crate::pipeline::{Ending, GenerateConfig};
use crate::progress::clock;
use crate::store::file::lock::WorkLock;
use crate::store::{Filter, Store};
use crate::task::{Origin, Review};
use crate::text::{chosen, shell_word};
use anyhow::Result;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use std::path::{Path, PathBuf};

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

    /// Run this model locally: a directory (config.json, weights, tokenizer), a GGUF file, or an id
    /// on the Hugging Face hub
    #[arg(long, value_name = "DIR|HF_ID", group = "who")]
    pub model: Option<PathBuf>,

    /// The endpoint of the model.
    #[command(flatten)]
    pub at: endpoint::Args,

    /// Batch files instead of an endpoint.
    #[command(flatten)]
    pub batch_files: batch::Args,

    /// The seed of all randomness; the same seed continues where it stopped
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// Draw from the K-th of N parts of the seed's random numbers, so that N machines do not repeat
    /// each other; `ewe merge-db` makes one dataset of theirs
    #[arg(long, value_name = "K/N", default_value = "1/1")]
    pub part: Part,

    /// Rounds that run side by side; round k is prompted from the tasks accepted up to round k - N
    /// [default: 8, and 512 with --batch-file]
    #[arg(long, value_name = "N", default_value_t = 8, hide_default_value = true,
        default_value_if("batch_file", clap::builder::ArgPredicate::IsPresent, "512"),
        value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub window: u64,

    /// ROUGE-L F1 above which two instructions are near-duplicates
    #[arg(long, value_name = "F1", default_value = "0.7")]
    pub threshold: Threshold,

    /// Rules for instructions and instances: self-instruct, alpaca, default, none (near-duplicates
    /// only), or a TOML file
    #[arg(long, value_name = "SET|FILE", default_value = "default")]
    pub rules: String,

    /// The budget.
    #[command(flatten)]
    pub budget: budget::Args,

    /// Stop when less than this part of the last 500 instructions that the rules accepted was new;
    /// 0 never does
    #[arg(long, value_name = "PART", default_value_t = 0.02, value_parser = number::part)]
    pub min_novelty: f64,

    /// Prompts and sampling.
    #[command(flatten)]
    pub recipe: recipe::Args,

    /// Judging of the new instances.
    #[command(flatten)]
    pub judge: quality::Args,

    /// The user's validator.
    #[command(flatten)]
    pub validator: validator::Args,

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

impl Args {
    fn config(&self) -> Result<GenerateConfig> {
        let recipe = self.recipe.recipe()?;
        Ok(GenerateConfig {
            target: self.target,
            seed: self.seed,
            part: self.part,
            window: self.window,
            threshold: self.threshold,
            rules: RuleSet::read(&self.rules)?,
            budget: self.budget.budget(),
            min_novelty: self.min_novelty,
            evolve: self.recipe.evolve(&recipe)?,
            turns: self.recipe.turns()?,
            recipe,
            topics: self.recipe.topics()?,
            validator: self.validator.config(),
        })
    }
}

/// An open dataset, locked for growing.
pub struct GrowingDataset {
    config: GenerateConfig,
    store: Store,
    /// The judge, if it is another model than the one that writes the tasks.
    judge: Option<Client>,
    _locks: (WorkLock, Option<WorkLock>),
}

/// Reads the options and opens the dataset. This comes before a model is loaded, so that errors
/// show at once.
///
/// Boxed: a bare future would be compiled again in `ewe-torch`.
pub fn open(args: &Args) -> LocalBoxFuture<'_, Result<GrowingDataset>> {
    open_dataset(args).boxed_local()
}

async fn open_dataset(args: &Args) -> Result<GrowingDataset> {
    let config = args.config()?;
    let judge = args.judge.client(&args.at).await?;
    let store = Store::open(&args.db).await?;
    let lock = store.lock_for_generate().await?;
    let judges = match args.judge.is_wanted() {
        true => Some(store.lock_for_judge().await?),
        false => None,
    };
    Ok(GrowingDataset {
        config,
        store,
        judge,
        _locks: (lock, judges),
    })
}

/// Grows the dataset with the model behind an endpoint, or with batch files.
pub async fn run(args: &Args, quiet: bool) -> Result<u8> {
    super::with_backend(
        &args.batch_files,
        &args.at,
        open(args),
        async |dataset: GrowingDataset, backend: &dyn Backend, batch: Option<&BatchBackend>| {
            dataset.run(args, quiet, backend, batch).await
        },
    )
    .await
}

impl GrowingDataset {
    /// Grows the dataset with `backend`, which `batch` is as well if it is for batch files. Returns
    /// the exit code.
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
        let result = self.generate(args, quiet, backend, batch).await;
        let alike = match &result {
            Ok(_) => self.store.count(&alike(), None).await,
            Err(_) => Ok(0),
        };
        self.store.close().await;
        let generated = result?;
        if let (Some(batch), false) = (&generated.batch, quiet) {
            batch.warn();
        }
        report(args, &generated);
        let is_grown = matches!(generated.ending, Ending::Target | Ending::Saturated);
        if is_grown && generated.progress.accepted > 0 && !args.json {
            after_growing(args, alike?, generated.judged.is_some()).say(quiet);
        }
        Ok(if generated.ending == Ending::Interrupted {
            130
        } else {
            0
        })
    }

    /// Runs the command and shows its progress.
    async fn generate(
        &self,
        args: &Args,
        quiet: bool,
        backend: &dyn Backend,
        batch: Option<&BatchBackend>,
    ) -> Result<Generated> {
        let interrupted = interrupt::on_signal()?;
        let judge = self
            .judge
            .as_ref()
            .map_or(backend, |client| client as &dyn Backend);
        let request = GenerateRequest {
            config: &self.config,
            backend,
            batch,
            judge: args.judge.is_wanted().then_some(judge),
        };
        let mut live = None;
        let mut bar = JudgeBar::new(quiet || args.json);
        let mut show = |event: GenerateEvent<'_>| match event {
            GenerateEvent::Begins(now) => {
                let priced = args.budget.is_priced();
                // With a file nothing is waited for.
                let quiet = quiet || batch.is_some();
                let shown = Live::new(now.accepted, now.target, args.json, priced, quiet);
                if now.accepted < now.target && batch.is_none() {
                    shown.begin(&beginning(args, backend.model(), now.target - now.accepted));
                }
                live = Some(shown);
            }
            GenerateEvent::Grows(now) => live.iter_mut().for_each(|live| live.show(now)),
            GenerateEvent::Judges(now) => {
                live.take().into_iter().for_each(Live::finish);
                bar.show(now);
            }
        };
        let result = commands::generate(&self.store, &request, &interrupted, &mut show).await;
        live.into_iter().for_each(Live::finish);
        bar.finish();
        result
    }
}

/// ROUGE-L with the nearest task from which on people want to look: the same subject in other
/// words.
const ALIKE: f64 = 0.5;

/// Tasks that nobody has reviewed, and that read like another one.
fn alike() -> Filter {
    Filter {
        origin: Some(Origin::Machine),
        review: Some(Review::Pending),
        min_similarity: Some(ALIKE),
        ..Filter::default()
    }
}

/// What to do with new tasks, of which so many read like another.
fn after_growing(args: &Args, alike: i64, is_judged: bool) -> NextCommands {
    let db = shell_word(&args.db);
    let mut next = NextCommands::default().with(format!("ewe curate --db {db}"), "review them");
    if alike > 0 {
        next = next.with(
            format!("ewe list --db {db} --review pending --min-similarity {ALIKE} --sort similar"),
            chosen(alike, "reads like another task", "read like another task"),
        );
    }
    let name = args.at.endpoint_model.first().map_or(String::new(), |name| {
        format!(" --endpoint-model {}", shell_word(Path::new(name)))
    });
    let who = match (&args.model, args.at.endpoint.as_slice(), &args.at.endpoints) {
        (Some(model), ..) => format!("--model {}", shell_word(model)),
        (None, [url], _) => format!("--endpoint {}{name}", shell_word(Path::new(url))),
        (None, [], Some(list)) => format!("--endpoints {}{name}", shell_word(list)),
        _ => return next,
    };
    match is_judged {
        true => next,
        false => next.with(format!("ewe judge --db {db} {who}"), "have them scored first"),
    }
}

/// What a run begins with.
fn beginning(args: &Args, model: &str, wanted: u64) -> String {
    format!(
        "generate: asking {} for {}, {} side by side; Ctrl-C stops, and the same command goes on",
        clean(model),
        counted(wanted, "task"),
        counted(args.window, "round")
    )
}

/// Prints the result.
fn report(args: &Args, generated: &Generated) {
    if args.json {
        println!("{}", crate::streams::json::value(&to_json(generated)));
        return;
    }
    let Generated {
        progress,
        had,
        judged,
        ..
    } = generated;
    println!(
        "{}: {}, {} of them new; {} rejected, {}, {}, {}",
        args.db.display(),
        counted(progress.accepted, "machine-made task"),
        progress.accepted - had,
        counted(progress.rejections(), "candidate"),
        counted(progress.requests, "request"),
        counted(progress.tokens(), "token"),
        clock(generated.time)
    );
    if let (true, Some(told)) = (progress.accepted == *had, told(&progress.complaints)) {
        eprintln!(
            "nothing new came of {}: {}",
            counted(progress.requests as i64, "request"),
            clean(&told)
        );
    }
    super::validate::warn(&progress.faults);
    if let Some(judged) = judged {
        println!("{}: {}", args.db.display(), super::judge::sentence(judged));
        super::judge::warn(judged);
    }
    match generated.ending {
        Ending::Target => {}
        Ending::Budget(spent) => println!(
            "stopped: the budget of {} is spent; the same command may spend as much again and goes on",
            spent.as_str()
        ),
        Ending::Saturated => println!(
            "stopped: {:.1} % of the last instructions were new, less than --min-novelty {}; more seeds, another \
             model or a lower --min-novelty may bring more",
            100.0 * progress.novelty.unwrap_or_default(),
            args.min_novelty
        ),
        Ending::Waiting => generated.batch.iter().for_each(BatchSummary::say),
        Ending::Interrupted => println!("stopped: interrupted; the same command goes on"),
    }
}

/// The result as JSON.
fn to_json(generated: &Generated) -> serde_json::Value {
    let progress = &generated.progress;
    let word = match generated.ending {
        Ending::Target => "target",
        Ending::Budget(_) => "budget",
        Ending::Saturated => "saturated",
        Ending::Waiting => "waiting",
        Ending::Interrupted => "interrupted",
    };
    let spent = match generated.ending {
        Ending::Budget(spent) => Some(spent.as_str()),
        _ => None,
    };
    let mut json = serde_json::json!({"ending": word, "budget": spent, "accepted": progress.accepted,
        "new": progress.accepted - generated.had, "rejected": progress.rejections(),
        "rejected_by_reason": progress.rejected, "novelty": progress.novelty,
        "requests": progress.requests, "tokens": progress.tokens(),
        "prompt_tokens": progress.prompt_tokens, "completion_tokens": progress.completion_tokens,
        "cost": progress.cost, "validator_failed": progress.faults.count, "complaints": super::judge::complaints(&progress.complaints)});
    if let Some(batch) = &generated.batch {
        json["batch"] = batch.to_json();
    }
    if let Some(judged) = &generated.judged {
        json["judge"] = super::judge::to_json(judged);
    }
    json
}
