//! `ewe filter`

use crate::cli::args::number::some;
use crate::cli::args::reading::ReadingArgs;
use crate::cli::args::size;
use crate::cli::terminal::{counted, one_line};
use crate::filter::Compared;
use crate::filter::rouge::Threshold;
use crate::filter::rules::RuleSet;
use crate::interchange::Need;
use crate::pipeline::neighbors;
use crate::pipeline::screening::config::FilterConfig;
use crate::pipeline::screening::dataset::{self, RefilterConfig, Refiltered};
use crate::pipeline::screening::file::{self, FilterCounts, Filtered};
use crate::store::Store;
use crate::text::chosen;
use anyhow::Result;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Arguments of `ewe filter`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub struct Args {
    /// Tasks in any format that `ewe import` reads, or instructions alone; the first of similar
    /// ones is kept. Several files, or a folder of them, are one dataset in this order. `-` is
    /// standard input
    #[arg(group = "what")]
    pub file: Vec<PathBuf>,

    /// Filter the tasks of this dataset again, and reject pending ones that do not pass
    #[arg(long, value_name = "FILE", group = "what")]
    pub db: Option<PathBuf>,

    /// Only show what would change in the dataset
    #[arg(long, conflicts_with = "file")]
    pub dry_run: bool,

    /// Also reject rows that are similar to a task of this file; with --rules default also rows
    /// that have an instruction, an input or 13 words in a row in common with one. May be given
    /// several times
    #[arg(long, help_heading = "Near-duplicates", value_name = "FILE")]
    pub against: Vec<PathBuf>,

    /// Compare rows with those of --against only, not with one another
    #[arg(long, help_heading = "Near-duplicates", requires = "against", conflicts_with_all = ["db", "memory"])]
    pub apart: bool,

    /// ROUGE-L F1 above which two instructions are near-duplicates
    #[arg(
        long,
        help_heading = "Near-duplicates",
        value_name = "F1",
        default_value = "0.7"
    )]
    pub threshold: Threshold,

    /// What of a conversation is compared with others: its first question, or all that is said.
    /// Tasks of one turn are compared by their instruction
    #[arg(long, help_heading = "Near-duplicates", value_enum, default_value_t)]
    pub compare: Compared,

    /// Rules for each row: self-instruct, alpaca, default, none (near-duplicates only), or a TOML
    /// file
    #[arg(long, value_name = "SET|FILE", default_value = "default")]
    pub rules: String,

    /// How to read the file. --map also applies to files of --against without columns that ewe
    /// knows
    #[command(flatten)]
    pub reading: ReadingArgs,

    /// Name the most similar row in every verdict, not only for near-duplicates; takes longer
    #[arg(long, help_heading = "Near-duplicates", requires = "verdicts")]
    pub nearest: bool,

    /// Write the kept rows to this file: Parquet, one JSON array, CSV, TSV or JSON lines, as the
    /// name ends in .parquet, .json, .csv, .tsv or anything else; compressed with .gz or .zst after
    /// that. `-` is standard output
    #[arg(long, value_name = "FILE", conflicts_with = "db")]
    pub out: Option<PathBuf>,

    /// Make --out a new folder of files with so many rows each, part-00000 and so on, laid out as
    /// its name says
    #[arg(long, value_name = "N", value_parser = some, requires = "out", conflicts_with = "db")]
    pub rows_per_file: Option<u64>,

    /// Memory to work in: 4GB, 500MB or 16GiB. Rows that do not fit are compared part by part, with
    /// the others on disk meanwhile; the verdicts are the same. A run that was interrupted goes on
    /// after the parts that it finished
    #[arg(long, value_name = "SIZE", value_parser = size::parse, conflicts_with_all = ["db", "nearest"])]
    pub memory: Option<u64>,

    /// With --memory, the folder for files in between, which are removed at the end [default: that
    /// of the output]
    #[arg(long, value_name = "DIR", requires = "memory", conflicts_with = "db")]
    pub scratch: Option<PathBuf>,

    /// Write a verdict on each row to this file, as JSON lines; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub verdicts: Option<PathBuf>,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Filters a file or a dataset.
pub async fn run(args: &Args, quiet: bool) -> Result<()> {
    let rules = RuleSet::read(&args.rules)?;
    match &args.db {
        Some(db) => filter_dataset(args, db, rules, quiet).await,
        None => filter_files(args, rules, quiet),
    }
}

fn filter_files(args: &Args, rules: RuleSet, quiet: bool) -> Result<()> {
    let Filtered { counts, parts, files } = file::filter(
        &FilterConfig {
            files: args.file.clone(),
            against: args.against.clone(),
            apart: args.apart,
            threshold: args.threshold,
            compared: args.compare,
            rules,
            nearest: args.nearest,
            reading: args.reading.reading(Need::Instruction)?,
            policy: args.reading.policy(),
            out: args.out.clone(),
            rows_per_file: args.rows_per_file,
            verdicts: args.verdicts.clone(),
            memory: args.memory,
            scratch: args.scratch.clone(),
        },
        quiet,
    )?;
    let mut out = crate::streams::stdout();
    if args.json {
        let FilterCounts {
            rows,
            accepted,
            reasons,
        } = counts;
        let mut json = serde_json::json!({"rows": rows, "accepted": accepted, "rejected": reasons});
        for (name, number) in [("parts", parts), ("files", files)] {
            if let Some(number) = number {
                json[name] = number.into();
            }
        }
        writeln!(out, "{}", crate::streams::json::value(&json))?;
        return Ok(());
    }
    let more = match &args.file[1..] {
        [] => String::new(),
        others => format!(" and {} more", others.len()),
    };
    write!(
        out,
        "{}{more}: {} of {} kept",
        args.file[0].display(),
        counts.accepted,
        counted(counts.rows, "row")
    )?;
    if let Some(files) = files {
        write!(out, ", in {}", counted(files as u64, "file"))?;
    }
    if let Some(parts) = parts.filter(|&parts| parts > 1) {
        write!(out, "; compared in {}", counted(parts, "part"))?;
    }
    writeln!(out)?;
    print_reasons(&mut out, &counts)
}

async fn filter_dataset(args: &Args, db: &Path, rules: RuleSet, quiet: bool) -> Result<()> {
    let store = if args.dry_run {
        Store::open_to_read(db).await?
    } else {
        Store::open(db).await?
    };
    let refiltered = dataset::refilter(
        &store,
        &RefilterConfig {
            against: args.against.clone(),
            reading: args.reading.reading(Need::Instruction)?,
            threshold: args.threshold,
            compared: args.compare,
            rules,
            nearest: args.nearest,
            dry_run: args.dry_run,
            verdicts: args.verdicts.clone(),
        },
        quiet,
    )
    .await?;
    if !args.dry_run {
        // Imports of older versions have none.
        neighbors::complete(&store, quiet).await?;
    }
    store.finish().await?;
    let mut out = crate::streams::stdout();
    if args.json {
        let Refiltered {
            counts,
            rejected,
            kept_by_people,
            change,
        } = &refiltered;
        let ids: Vec<i64> = rejected.iter().map(|rejected| rejected.id).collect();
        let json = serde_json::json!({
            "tasks": counts.rows,
            "accepted": counts.accepted,
            "rejected": counts.reasons,
            "rejected_ids": ids,
            "kept_by_people": kept_by_people,
            "change": change,
        });
        writeln!(out, "{}", crate::streams::json::value(&json))?;
        return Ok(());
    }
    print_refiltered(&mut out, db, args.dry_run, &refiltered)
}

fn print_refiltered(out: &mut impl Write, db: &Path, dry_run: bool, refiltered: &Refiltered) -> Result<()> {
    /// Rejected tasks that are shown. All of them are in the history, or in the file of verdicts.
    const SHOWN: usize = 20;
    let Refiltered {
        counts,
        rejected,
        kept_by_people,
        change,
    } = refiltered;
    for task in rejected.iter().take(SHOWN) {
        writeln!(out, "{:>7}  {}", task.id, one_line(&task.instruction, 90))?;
        writeln!(out, "         {}", one_line(&task.why, 90))?;
    }
    if rejected.len() > SHOWN {
        writeln!(out, "         … and {} more", rejected.len() - SHOWN)?;
    }
    let (would, how) = match change {
        Some(change) => (
            "",
            format!(" (action {}; `ewe undo` takes it back)", change.group),
        ),
        None if dry_run => ("would be ", String::new()),
        None => ("", String::new()),
    };
    writeln!(
        out,
        "{}: {} {would}rejected, {}{how}",
        db.display(),
        counted(rejected.len() as i64, "task"),
        chosen(counts.accepted, "stays", "stay")
    )?;
    print_reasons(out, counts)?;
    if *kept_by_people > 0 {
        writeln!(
            out,
            "{}",
            chosen(
                *kept_by_people,
                "task objected to stays because it is accepted",
                "tasks objected to stay because they are accepted"
            )
        )?;
    }
    Ok(())
}

fn print_reasons(out: &mut impl Write, counts: &FilterCounts) -> Result<()> {
    for (reason, count) in &counts.reasons {
        writeln!(out, "  {reason:24} {count:>8}")?;
    }
    Ok(())
}
