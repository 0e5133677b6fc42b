//! `ewe split`

use std::{io::Write, path::PathBuf};

use crate::cli::args::select::Select;
use crate::next::NextCommands;
use crate::pipeline::split::{self, SplitConfig, SplitSummary};
use crate::store::Store;
use crate::store::query::amount::Amount;
use crate::text::{chosen, counted, shell_word};

/// Arguments of `ewe split`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
#[command(after_help = "\
A held-out task is never shown in a prompt of `ewe generate`, which also rejects
what reads like it, and never trained on by `ewe train --db`, nor is any task
that reads like it (ROUGE-L of the instructions of 0.7 or more, or the same
text). `ewe train` and `ewe eval` evaluate on it.

Split before generating: prompts that were sent already stay what they were.
`ewe generate` goes on with the split as it is when it starts: rounds that were
admitted stay, and later ones show no held-out task. `ewe train --resume`
refuses to go on once a split has changed its rows;
`ewe train --resume --allow-changes` goes on without the held-out ones.

Asked again, the command only adds what is missing: no task goes back into
training until --clear.")]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// How many tasks to hold out in all: a share of those that the options choose, such as 10%, or
    /// a number. Each label and each origin gives its share
    #[arg(long, value_name = "SHARE|N", group = "what")]
    pub eval: Option<Amount>,

    /// Hold out nothing any more
    #[arg(long, group = "what")]
    pub clear: bool,

    /// Seed of the choice
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,

    /// Which tasks
    #[command(flatten)]
    pub select: Select,
}

/// Holds tasks out, or none any more.
pub async fn run(args: &Args, quiet: bool) -> anyhow::Result<()> {
    let store = Store::open(&args.db).await?;
    let db = shell_word(&args.db);
    let mut out = crate::streams::stdout();
    let Some(amount) = args.eval else {
        let cleared = split::clear(&store).await?;
        store.close().await;
        match args.json {
            true => writeln!(
                out,
                "{}",
                crate::streams::json::value(&serde_json::json!({ "cleared": cleared }))
            )?,
            false => writeln!(
                out,
                "{}",
                chosen(
                    cleared,
                    "task is not held out any more",
                    "tasks are not held out any more"
                )
            )?,
        }
        return Ok(());
    };
    store.check_choices(&args.select.filter()).await?;
    let config = SplitConfig {
        amount,
        seed: args.seed,
        filter: args.select.filter(),
    };
    let summary = split::split(&store, &config).await?;
    store.close().await;
    if args.json {
        writeln!(out, "{}", crate::streams::json::line(&summary)?)?;
        return Ok(());
    }
    for line in told(&summary) {
        writeln!(out, "{line}")?;
    }
    NextCommands::default()
        .with(format!("ewe list --db {db} --split eval"), "")
        .with(format!("ewe generate --db {db} …"), "")
        .with(format!("ewe train --db {db} …"), "")
        .say(quiet);
    Ok(())
}

/// Says what was done.
fn told(summary: &SplitSummary) -> Vec<String> {
    let before = summary.held_out - summary.added;
    let held_out = format!(
        "{} of {} held out",
        summary.held_out,
        counted(summary.tasks, "task")
    );
    let mut lines = vec![match (before, summary.added) {
        (0, _) => held_out,
        (_, 0) => format!("{held_out}, all of them before: nothing to add"),
        (before, added) => format!("{held_out}: {before} before, {added} new"),
    }];
    if summary.near_held_out > 0 {
        lines.push(format!(
            "{} like held-out ones and {} not trained on",
            chosen(summary.near_held_out, "task reads", "tasks read"),
            if summary.near_held_out == 1 { "is" } else { "are" }
        ));
    }
    lines.push(format!(
        "{} for training",
        chosen(summary.train, "task is left", "tasks are left")
    ));
    lines
}
