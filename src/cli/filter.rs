//! `ewe filter`

use crate::filter::Threshold;
use crate::filter::file::{Config, Outcome, filter};
use crate::filter::rules::RuleSet;
use anyhow::Result;
use std::io::Write;
use std::path::PathBuf;

/// Arguments of `ewe filter`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Tasks in any format that `ewe import` reads; the first of similar ones is kept
    pub file: PathBuf,

    /// Reject what is similar to a task of this file, too; may be given several times
    #[arg(long, value_name = "FILE")]
    pub against: Vec<PathBuf>,

    /// ROUGE-L F1 above which two instructions count as the same
    #[arg(long, value_name = "F1", default_value = "0.7")]
    pub threshold: Threshold,

    /// Rules over instructions and instances: `self-instruct`, `alpaca`, `default`, `none`, or a TOML file
    #[arg(long, value_name = "NAME|FILE", default_value = "default")]
    pub rules: String,

    /// Write the rows that are kept here, each as it stands in FILE, a line each
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Write a verdict for each row here, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub verdicts: Option<PathBuf>,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Judges the rows of a file.
pub fn run(args: &Args, quiet: bool) -> Result<()> {
    let Outcome {
        rows,
        accepted,
        reasons,
    } = filter(
        &Config {
            file: args.file.clone(),
            against: args.against.clone(),
            threshold: args.threshold,
            rules: RuleSet::read(&args.rules)?,
            out: args.out.clone(),
            verdicts: args.verdicts.clone(),
        },
        quiet,
    )?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(
            out,
            "{}",
            serde_json::json!({"rows": rows, "accepted": accepted, "rejected": reasons})
        )?;
    } else {
        writeln!(out, "{}: {accepted} of {rows} rows kept", args.file.display())?;
        for (reason, count) in reasons {
            writeln!(out, "  {reason:24} {count:>8}")?;
        }
    }
    Ok(())
}
