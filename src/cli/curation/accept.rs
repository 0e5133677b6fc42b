//! `ewe accept` and `ewe reject`

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
};

use anyhow::bail;

use crate::cli::args::select::Select;
use crate::cli::terminal::counted;
use crate::streams::json;
use crate::{
    curate::{self, ids::Ids},
    store::{Actor, Store},
    task::Review,
};

/// Arguments of `ewe accept` and of `ewe reject`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// The tasks' ids: 7, or 7-12 for all of them
    #[arg(value_name = "ID")]
    pub ids: Vec<Ids>,

    /// Which tasks
    #[command(flatten)]
    pub select: Select,

    /// Do not ask for confirmation before changing all tasks that the options choose
    #[arg(long, conflicts_with = "ids", help_heading = "How they are changed")]
    pub yes: bool,

    /// The reason, for the history
    #[arg(long, value_name = "TEXT", help_heading = "How they are changed")]
    pub reason: Option<String>,

    /// Print the result as JSON
    #[arg(long, help_heading = "How they are changed")]
    pub json: bool,
}

/// Sets the review of some tasks, as one action.
pub async fn run(args: &Args, review: Review) -> anyhow::Result<()> {
    let filter = args.select.filter();
    match (args.ids.is_empty(), filter.is_empty()) {
        (true, true) => usage("say which tasks: ids, or options such as --origin or --text"),
        (false, false) => usage("say which tasks by ids or by options, not by both"),
        _ => {}
    }
    let store = Store::open(&args.db).await?;
    store.check_choices(&filter).await?;
    let who = curate::who();
    let actor = Actor {
        who: &who,
        note: args.reason.as_deref(),
    };
    let change = if args.ids.is_empty() {
        let mut seen = None;
        if !args.yes {
            let chosen = store.count(&filter, None).await?;
            confirm(store.count_changing(&filter, chosen, review).await?, review)?;
            seen = Some(chosen);
        }
        store.review_all(&filter, seen, review, actor).await?
    } else {
        let ids: Vec<i64> = args.ids.iter().flat_map(|ids| ids.0.clone()).collect();
        store.review(&ids, review, actor).await?
    };
    store.close().await;
    let mut out = crate::streams::stdout();
    if args.json {
        writeln!(out, "{}", json::value(&serde_json::json!({ "change": change })))?;
        return Ok(());
    }
    match change {
        Some(change) => {
            writeln!(
                out,
                "{} {review} (action {}; `ewe undo` takes it back)",
                counted(change.tasks, "task"),
                change.group
            )?;
        }
        None => writeln!(out, "nothing to do: {review} already")?,
    }
    Ok(())
}

/// Exits like clap on a wrong command line.
fn usage(what: &str) -> ! {
    clap::Error::raw(
        clap::error::ErrorKind::MissingRequiredArgument,
        format!("{what}\n\nFor more information, try '--help'.\n"),
    )
    .exit()
}

/// Asks on the terminal whether so many tasks are meant.
fn confirm(tasks: i64, review: Review) -> anyhow::Result<()> {
    let tasks = counted(tasks, "task");
    if !std::io::stdin().is_terminal() || !crate::streams::stderr().is_terminal() {
        bail!("{tasks} would become {review}; nothing was changed\nhint: --yes does it without asking");
    }
    eprint!("{tasks} will become {review}, as one action. Go on? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        bail!("nothing was changed");
    }
    Ok(())
}
