//! `ewe export`

use std::path::PathBuf;

use anyhow::bail;

use crate::cli::args::select::Traits;
use crate::{
    atomic_file,
    interchange::{
        Format,
        write::{self, Options, Target},
    },
    store::{Filter, Store},
    task::Review,
};

/// Arguments of `ewe export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// What to write [possible values: alpaca, dolly, chat, completion, self-instruct, parquet]
    #[arg(long, value_name = "FORMAT", value_parser = target)]
    pub format: Target,

    /// The file to write, replaced as a whole: lines, one array or Parquet, as the name ends in .jsonl, .json or .parquet, packed
    /// with .gz or .zst behind that; else an array for alpaca, lines for others. `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// Which tasks: only accepted ones, or any that was not rejected
    #[arg(long, value_enum, default_value = "any")]
    pub review: Which,

    /// Only examples that a model judged, with at least this score; of several judges the mean counts
    #[arg(long, value_name = "SCORE", value_parser = crate::cli::args::number::score)]
    pub min_score: Option<f64>,

    /// Only the fields of the format: not which rows are one task's, and not what rows of imported files said besides
    #[arg(long)]
    pub plain: bool,

    /// Which tasks
    #[command(flatten)]
    pub traits: Traits,
}

/// Which part of the dataset is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Which {
    /// Accepted tasks
    Accepted,
    /// Accepted and pending tasks
    Any,
}

fn target(word: &str) -> Result<Target, String> {
    Target::named(word).ok_or_else(|| {
        format!(
            "no such format\nhint: one of {}, parquet",
            Format::names(&Format::WRITTEN)
        )
    })
}

/// Writes the dataset to a file.
pub async fn run(args: &Args, globals: &crate::cli::Globals) -> anyhow::Result<()> {
    let review = match args.review {
        Which::Accepted => Some(Review::Accepted),
        Which::Any => None,
    };
    if args.format == Target::Parquet
        && atomic_file::is_stdout(&args.out)
        && crate::streams::stdout().is_terminal()
    {
        bail!("Parquet is nothing to look at on a terminal\nhint: --out FILE.parquet, or --format alpaca");
    }
    let store = Store::open_to_read(&args.db).await?;
    let filter = Filter {
        review,
        ..args.traits.filter()
    };
    let rows = write::export(
        &store,
        args.format,
        &args.out,
        &filter,
        args.min_score,
        Options { plain: args.plain },
    )
    .await?;
    let unscored = match args.min_score {
        Some(_) => store.unscored(review).await?,
        None => 0,
    };
    store.close().await;
    if !globals.quiet {
        eprintln!(
            "{}: {} of {}",
            args.out.display(),
            crate::cli::terminal::counted(rows, "row"),
            args.format.as_str()
        );
        if unscored > 0 {
            eprintln!(
                "{} without a score left out\nhint: `ewe judge` has them judged",
                crate::cli::terminal::counted(unscored, "example")
            );
        }
    }
    Ok(())
}
