//! `ewe validate`

use crate::cli::args::select::Select;
use crate::cli::args::validator::Limits;
use crate::cli::interrupt;
use crate::cli::terminal::{clean, counted};
use crate::pipeline::Ending;
use crate::pipeline::screening::validate::{self, ValidateConfig, Validated};
use crate::progress::ProgressMeter;
use crate::store::Store;
use crate::validator::pool::Faults;
use anyhow::Result;
use serde_json::json;
use std::path::PathBuf;

/// Rejected rows that are listed.
const LISTED: usize = 20;

/// Arguments of `ewe validate`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// A program that accepts or rejects rows: it gets rows as lines of JSON and answers each with
    /// a line, {"accept": false, "reason": "…"}
    #[arg(long, value_name = "COMMAND")]
    pub validator: String,

    /// Which tasks
    #[command(flatten)]
    pub select: Select,

    /// The limits of the validator.
    #[command(flatten)]
    pub limits: Limits,

    /// Also ask about rows that this validator has a verdict on, as after a change of its program
    #[arg(long, help_heading = "Validator")]
    pub again: bool,

    /// Only show the verdicts: store none, and reject nothing
    #[arg(long, help_heading = "Validator")]
    pub dry_run: bool,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command. Returns the exit code.
///
/// # Errors
///
/// If the validator fails on many rows in a row or on all, or the dataset cannot be read.
pub async fn run(args: &Args, quiet: bool) -> Result<u8> {
    let config = ValidateConfig {
        filter: args.select.filter(),
        validator: args.limits.of(&args.validator),
        again: args.again,
        dry_run: args.dry_run,
    };
    let store = match args.dry_run {
        true => Store::open_to_read(&args.db).await?,
        false => Store::open(&args.db).await?,
    };
    store.check_choices(&config.filter).await?;
    let interrupted = interrupt::on_signal()?;
    let mut bar: Option<ProgressMeter> = None;
    let mut show = |now: &Validated| {
        let bar = bar
            .get_or_insert_with(|| ProgressMeter::new("validate", "row", 0, now.total, quiet || args.json));
        bar.set(now.asked(), &format!("{} rejected", now.rejected.len()));
    };
    let result = validate::validate(&store, &config, &interrupted, &mut show).await;
    if let Some(bar) = bar {
        bar.finish();
    }
    store.close().await;
    let (ending, validated) = result?;
    report(args, ending, &validated);
    if ending == Ending::Interrupted {
        return Ok(130);
    }
    match in_vain(&validated) {
        Some(first) => anyhow::bail!(
            "no row has a verdict: the validator gave none on {}; the first, {}\nhint: mend the program or its command \
             line, or raise --validator-timeout or --validator-memory; the same command asks again",
            counted(validated.faults.count, "row"),
            clean(first)
        ),
        None => Ok(0),
    }
}

/// The first row without a verdict, if all that were asked about have none.
fn in_vain(validated: &Validated) -> Option<&str> {
    let has_verdicts = validated.accepted > 0 || !validated.rejected.is_empty();
    validated.faults.first.as_deref().filter(|_| !has_verdicts)
}

fn report(args: &Args, ending: Ending, validated: &Validated) {
    let Validated {
        accepted, rejected, ..
    } = validated;
    if args.json {
        let rows: Vec<_> = rejected
            .iter()
            .map(|(task, instance, reason)| json!({"task": task, "instance": instance, "reason": reason}))
            .collect();
        let json = json!({
            "ending": if ending == Ending::Interrupted { "interrupted" } else { "done" },
            "rows": validated.total, "known": validated.known, "accepted": accepted, "rejected": rows,
            "failed": validated.faults.count, "failure": validated.faults.first,
            "kept_by_people": validated.kept_by_people, "change": validated.change,
        });
        println!("{}", crate::streams::json::value(&json));
        return;
    }
    for (task, instance, reason) in rejected.iter().take(LISTED) {
        println!("task {task}, instance {instance}: {}", clean(reason));
    }
    if rejected.len() > LISTED {
        println!("… and {} more", rejected.len() - LISTED);
    }
    let known = match validated.known {
        0 => String::new(),
        known => format!("; {} had a verdict already", counted(known, "row")),
    };
    println!(
        "{}: {} of {} rejected{known}",
        args.db.display(),
        rejected.len(),
        counted(validated.asked(), "row")
    );
    // If there is no verdict at all, that is the error.
    if in_vain(validated).is_none() || ending == Ending::Interrupted {
        warn(&validated.faults);
    }
    if let Some(change) = &validated.change {
        println!(
            "{} rejected (action {}; `ewe undo` takes it back)",
            counted(change.tasks, "task"),
            change.group
        );
    }
    if validated.kept_by_people > 0 {
        println!(
            "{} stay, since somebody accepted or rejected them",
            counted(validated.kept_by_people, "task")
        );
    }
    if ending == Ending::Interrupted {
        println!("stopped: interrupted; the verdicts so far are stored, and the same command goes on");
    }
}

/// Says on which rows a validator had no verdict.
pub fn warn(faults: &Faults) {
    if let Some(first) = &faults.first {
        eprintln!(
            "the validator gave no verdict on {}; the first, {}",
            counted(faults.count, "row"),
            clean(first)
        );
    }
}
