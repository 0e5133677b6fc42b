//! `ewe merge-db`

use std::{io::Write, path::PathBuf};

use crate::cli::terminal::{clean, counted};
use crate::filter::Threshold;
use crate::pipeline::merge_db::{self, MergeDbConfig, MergedDb, MergedInput};
use crate::text::chosen;

/// Arguments of `ewe merge-db`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The first dataset: of what it and another one have, its row stays
    #[arg(value_name = "FILE")]
    pub first: PathBuf,

    /// The other datasets, in the order in which they are added; all may be in use
    #[arg(value_name = "OTHER_FILE", required = true)]
    pub others: Vec<PathBuf>,

    /// The dataset to make, a file that does not exist yet
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// ROUGE-L F1 above which two instructions are near-duplicates [default: the lowest that
    /// `generate` recorded in the datasets, or 0.7]
    #[arg(long, value_name = "F1")]
    pub threshold: Option<Threshold>,

    /// Make nothing, only print what would be
    #[arg(long)]
    pub dry_run: bool,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Makes one dataset of several.
pub async fn run(args: &Args, quiet: bool) -> anyhow::Result<()> {
    let config = MergeDbConfig {
        inputs: std::iter::once(&args.first)
            .chain(&args.others)
            .cloned()
            .collect(),
        out: args.out.clone(),
        threshold: args.threshold,
        dry_run: args.dry_run,
    };
    let merged = merge_db::merge(&config, quiet).await?;
    let mut out = crate::streams::stdout();
    if args.json {
        writeln!(out, "{}", crate::streams::json::line(&merged)?)?;
    } else {
        print(&mut out, args, &merged)?;
    }
    out.flush()?;
    if let (true, None, false) = (merged.thresholds.len() > 1, args.threshold, quiet) {
        eprintln!(
            "runs had the thresholds {}: the lowest was applied; --threshold sets another",
            merged.thresholds.join(", ")
        );
    }
    Ok(())
}

/// Prints a line for each dataset, and one for the result.
fn print(out: &mut impl Write, args: &Args, merged: &MergedDb) -> std::io::Result<()> {
    for (at, input) in merged.inputs.iter().enumerate() {
        write!(out, "{}: ", clean(&input.file))?;
        match at {
            0 => writeln!(out, "{}", counted(input.brought.tasks, "task"))?,
            _ => print_brought(out, input)?,
        }
    }
    let would = if args.dry_run {
        " (dry run, nothing was made)"
    } else {
        ""
    };
    let tasks = chosen(
        merged.tasks,
        "task that is not rejected",
        "tasks that are not rejected",
    );
    writeln!(out, "{}: {tasks}{would}", args.out.display())
}

/// Prints what a dataset other than the first brought.
fn print_brought(out: &mut impl Write, input: &MergedInput) -> std::io::Result<()> {
    let brought = &input.brought;
    let new = chosen(brought.tasks, "new task", "new tasks");
    let same = chosen(
        brought.same_tasks,
        "that was there already",
        "that were there already",
    );
    write!(out, "{new}, {same}")?;
    if brought.conflicts > 0 {
        write!(
            out,
            ", {} of them accepted in one dataset and rejected in another: rejected",
            brought.conflicts
        )?;
    }
    let near = chosen(
        input.near_duplicates,
        "rejected as a near-duplicate",
        "rejected as near-duplicates",
    );
    write!(out, "; {near}")?;
    if let Some(action) = input.action {
        write!(out, " (action {action}; `ewe undo {action}` takes it back)")?;
    }
    if input.kept_by_people > 0 {
        write!(out, ", {} kept because they are accepted", input.kept_by_people)?;
    }
    writeln!(out)
}
