//! `ewe push`

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::cli::args::select::{Best, Length, Traits};
use crate::cli::args::{number, words};
use crate::cli::data::export::{Which, format};
use crate::interchange::write::ExportFormat;
use crate::push::account::Account;
use crate::push::card::{CardWords, Tuned};
use crate::push::dataset::{self, DatasetChoice};
use crate::push::folder;
use crate::push::http::Hub;
use crate::push::plan::PushPlan;
use crate::push::repo::{RepoId, RepoKind, is_id};
use crate::push::results::EvaluationText;
use crate::push::upload;
use crate::store::{Filter, Store};
use crate::streams::json;
use crate::task::Review;

/// Arguments of `ewe push`.
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("what").required(true),
    after_help = "The token is that of HF_TOKEN, or the one that `hf auth login` keeps."
)]
pub struct Args {
    /// The repository on the Hugging Face hub, made if it is not there
    #[arg(value_name = "USER/NAME")]
    pub repo: String,

    /// Push a model: the folder that `ewe train --method full` or `ewe merge` wrote
    #[arg(long, value_name = "DIR", group = "what")]
    pub model: Option<PathBuf>,

    /// Push an adapter: the folder that `ewe train` wrote
    #[arg(long, value_name = "DIR", group = "what")]
    pub adapter: Option<PathBuf>,

    /// Push a dataset: its rows except rejected ones, and those that are held out as split test
    #[arg(long, value_name = "FILE", group = "what")]
    pub db: Option<PathBuf>,

    /// Let everybody read it; without this, the repository is private
    #[arg(long)]
    pub public: bool,

    /// What the commit says [default: what is pushed]
    #[arg(long, value_name = "TEXT", value_parser = words::some)]
    pub message: Option<String>,

    /// Show the files, their sizes and the card; send nothing
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,

    /// Do not ask for confirmation
    #[arg(long)]
    pub yes: bool,

    /// Print the result as JSON: the commit, and how much was sent; with --dry-run, what would be
    #[arg(long)]
    pub json: bool,

    /// The licence, by the hub's name of it, such as apache-2.0
    #[arg(long, help_heading = "The card", value_name = "ID", value_parser = code)]
    pub license: Option<String>,

    /// The language of the texts, such as en; may be given several times
    #[arg(long, help_heading = "The card", value_name = "CODE", value_parser = code)]
    pub language: Vec<String>,

    /// The base model's id on the hub [default: the one that the run recorded, if it is on the hub]
    #[arg(long, help_heading = "The card", value_name = "HF_ID")]
    pub base_model: Option<String>,

    /// A dataset on the hub that the model was trained on; may be given several times
    #[arg(long, help_heading = "The card", value_name = "HF_ID")]
    pub dataset: Vec<String>,

    /// A result of `ewe eval --out` or `ewe gain --result`; may be given several times
    #[arg(long, help_heading = "The card", value_name = "FILE")]
    pub evaluation: Vec<PathBuf>,

    /// How rows are written: as Parquet, or as lines of JSON in a format [possible values: alpaca,
    /// dolly, chat, sharegpt, completion, self-instruct, parquet] [default: parquet]
    #[arg(long, help_heading = "Rows of a dataset", value_name = "FORMAT", value_parser = format)]
    pub format: Option<ExportFormat>,

    /// Which tasks by review: only accepted ones, or any that is not rejected [default: any]
    #[arg(long, help_heading = "Rows of a dataset", value_enum)]
    pub review: Option<Which>,

    /// Only examples that a judge scored at least this high
    #[arg(long, help_heading = "Rows of a dataset", value_name = "SCORE", value_parser = number::score)]
    pub min_score: Option<f64>,

    /// Write only the fields of the format, and no other fields of imported rows
    #[arg(long, help_heading = "Rows of a dataset")]
    pub plain: bool,

    /// Which tasks
    #[command(flatten)]
    pub traits: Traits,

    /// By their length
    #[command(flatten)]
    pub length: Length,

    /// The best of them
    #[command(flatten)]
    pub best: Best,
}

/// Parses a licence or a language, as the hub names them.
fn code(text: &str) -> Result<String, String> {
    let text = text.to_ascii_lowercase();
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match !text.is_empty() && text.len() <= 64 && text.chars().all(fits) {
        true => Ok(text),
        false => Err("want letters, digits, dashes and dots, such as apache-2.0 or en".to_owned()),
    }
}

/// Sends a model, an adapter or a dataset to the hub.
pub async fn run(args: &Args, quiet: bool) -> Result<()> {
    let id = RepoId::parse(&args.repo)?;
    let account = Account::from_env();
    // Rows of a dataset are in it until they are sent.
    let mut scratch = None;
    let plan = match (&args.model, &args.adapter, &args.db) {
        (Some(model), _, _) => of_folder(args, Tuned::Model, model, id)?,
        (_, Some(adapter), _) => of_folder(args, Tuned::Adapter, adapter, id)?,
        (_, _, Some(db)) => {
            let (plan, rows) = of_dataset(args, db, id).await?;
            scratch = Some(rows);
            plan
        }
        _ => unreachable!("clap wants one of them"),
    };
    if args.dry_run {
        if args.json {
            println!("{}", json::value(&plan.json(&account.endpoint)));
            return Ok(());
        }
        print!("{}\n{}", plan.describe(&account.endpoint), plan.card);
        return Ok(());
    }
    let endpoint = account.endpoint.clone();
    let hub = Hub::new(account)?;
    if !quiet || !args.yes {
        eprint!("{}", plan.describe(&endpoint));
    }
    if !args.yes {
        confirm(&plan)?;
    }
    let pushed = upload::push(&plan, &hub, quiet).await?;
    drop(scratch);
    if !pushed.ignored.is_empty() {
        eprintln!(
            "warning: not sent, since the repository's .gitignore names them: {}",
            pushed.ignored.join(", ")
        );
    }
    match args.json {
        true => println!("{}", json::value(&pushed.json())),
        false => println!("{}", pushed.describe()),
    }
    Ok(())
}

/// Asks on the terminal whether this is meant.
fn confirm(plan: &PushPlan) -> Result<()> {
    let what = plan.question();
    if !std::io::stdin().is_terminal() || !crate::streams::stderr().is_terminal() {
        bail!("{what}; nothing was sent\nhint: --yes does it without asking, --dry-run shows all of it");
    }
    eprint!("{what}. Go on? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        bail!("nothing was sent");
    }
    Ok(())
}

/// Returns what the options say for the card.
fn card_words(args: &Args) -> Result<CardWords> {
    let ids = args.dataset.iter().chain(&args.base_model);
    for id in ids {
        if !is_id(id) {
            bail!("`{id}` is no id on the hub\nhint: USER/NAME, as in the address of its page");
        }
    }
    Ok(CardWords {
        license: args.license.clone(),
        languages: args.language.clone(),
        base: args.base_model.clone(),
        datasets: args.dataset.clone(),
        evaluations: EvaluationText::read(&args.evaluation)?,
    })
}

fn message(args: &Args, what: &str) -> String {
    let said = args.message.clone();
    said.unwrap_or_else(|| format!("Push the {what} with ewe {}", env!("CARGO_PKG_VERSION")))
}

fn of_folder(args: &Args, tuned: Tuned, folder: &Path, id: RepoId) -> Result<PushPlan> {
    let what = match tuned {
        Tuned::Model => "model",
        Tuned::Adapter => "adapter",
    };
    let read = folder::read(tuned, folder, &id, card_words(args)?)?;
    Ok(PushPlan {
        id,
        kind: RepoKind::Model,
        is_public: args.public,
        message: message(args, what),
        files: read.files,
        card: read.card,
        stay: read.stay,
        remarks: read.remarks,
    })
}

async fn of_dataset(
    args: &Args,
    db: &Path,
    id: RepoId,
) -> Result<(PushPlan, crate::atomic_file::scratch::ScratchFolder)> {
    let review = match args.review {
        Some(Which::Accepted) => Some(Review::Accepted),
        Some(Which::Any) | None => None,
    };
    let choice = DatasetChoice {
        format: args.format.unwrap_or(ExportFormat::Parquet),
        filter: args.best.of(args.length.of(Filter {
            review,
            ..args.traits.filter()
        })),
        min_score: args.min_score,
        plain: args.plain,
    };
    let store = Store::open_to_read(db).await?;
    store.check_choices(&choice.filter).await?;
    let read = dataset::read(&store, &id, &choice, &card_words(args)?).await?;
    store.close().await;
    let plan = PushPlan {
        id,
        kind: RepoKind::Dataset,
        is_public: args.public,
        message: message(args, "dataset"),
        files: read.files,
        card: read.card,
        stay: Vec::new(),
        remarks: read.remarks,
    };
    Ok((plan, read.scratch))
}
