//! `ewe export`

use std::path::PathBuf;

use anyhow::bail;

use crate::cli::args::select::{Best, Length, Traits};
use crate::{
    atomic_file,
    interchange::{
        Format,
        write::{ExportFormat, ExportOptions},
    },
    next::{self, NextCommands},
    pipeline::export::{self, Exported},
    reasoning::ReasoningChoice,
    store::{Filter, Store},
    task::Review,
    text::chosen,
};

/// Arguments of `ewe export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// What to write [possible values: alpaca, dolly, chat, sharegpt, completion, self-instruct,
    /// oasst, parquet]
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    pub format: ExportFormat,

    /// The file to write, replaced as a whole. A name that ends in .jsonl, .json or .parquet makes
    /// it JSON lines, one JSON array or Parquet; a further .gz or .zst compresses it. Otherwise
    /// alpaca is an array, other formats are lines. `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// Which tasks by review: only accepted ones, or any that is not rejected
    #[arg(long, value_enum, default_value = "any")]
    pub review: Which,

    /// Only examples that a judge scored at least this high; the mean counts if there are several
    /// judges
    #[arg(long, value_name = "SCORE", value_parser = crate::cli::args::number::score)]
    pub min_score: Option<f64>,

    /// Write only the fields of the format: no field that marks rows of one task, and no other
    /// fields of imported rows
    #[arg(long)]
    pub plain: bool,

    /// Whether the reasoning of answers is written: fields such as `reasoning_content`, and text
    /// between marks such as `<think>`
    #[arg(long, value_enum, default_value_t)]
    pub reasoning: ReasoningChoice,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,

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

/// Which tasks are exported, by review.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Which {
    /// Accepted tasks
    Accepted,
    /// Accepted and pending tasks
    Any,
}

/// Parses the name of a format.
pub fn format(word: &str) -> Result<ExportFormat, String> {
    ExportFormat::named(word).ok_or_else(|| {
        format!(
            "no such format\nhint: one of {}, parquet",
            Format::names(&Format::WRITTEN)
        )
    })
}

/// Exports the dataset to a file.
pub async fn run(args: &Args, globals: &crate::cli::Globals) -> anyhow::Result<()> {
    let review = match args.review {
        Which::Accepted => Some(Review::Accepted),
        Which::Any => None,
    };
    if args.format == ExportFormat::Parquet
        && atomic_file::is_stdout(&args.out)
        && crate::streams::stdout().is_terminal()
    {
        bail!("Parquet is nothing to look at on a terminal\nhint: --out FILE.parquet, or --format alpaca");
    }
    let store = Store::open_to_read(&args.db).await?;
    let filter = args.best.of(args.length.of(Filter {
        review,
        ..args.traits.filter()
    }));
    store.check_choices(&filter).await?;
    let Exported { rows, without_output } = export::export(
        &store,
        args.format,
        &args.out,
        &filter,
        args.min_score,
        ExportOptions {
            plain: args.plain,
            reasoning: args.reasoning,
        },
    )
    .await?;
    let unscored = match args.min_score {
        Some(_) => store.unscored(review).await?,
        None => 0,
    };
    store.close().await;
    if args.json {
        let result = serde_json::json!({"out": args.out.to_string_lossy(), "format": args.format.as_str(),
            "rows": rows, "unscored": unscored, "without_output": without_output});
        println!("{}", crate::streams::json::value(&result));
        return Ok(());
    }
    if !globals.quiet {
        eprintln!(
            "{}: {} of {}",
            args.out.display(),
            crate::cli::terminal::counted(rows, "row"),
            args.format.as_str()
        );
        if without_output > 0 {
            eprintln!(
                "warning: {} no output, and would teach a model to say nothing\nhint: `ewe check` names those of \
                 accepted tasks; `ewe edit` and `ewe reject` change them",
                chosen(without_output as i64, "example has", "examples have")
            );
        }
        if unscored > 0 {
            eprintln!(
                "{} without a score left out\nhint: `ewe judge` has them judged",
                crate::cli::terminal::counted(unscored, "example")
            );
        }
    }
    if let (Some(file), 1..) = (next::file(&args.out), rows) {
        NextCommands::default()
            .with(
                format!("ewe train --data {file} --model DIR --out tuned"),
                "fine-tune a model on them",
            )
            .say(globals.quiet);
    }
    Ok(())
}
