//! What `ewe accept`, `ewe reject` and `ewe unsure` have in common.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::bail;

use crate::cli::args::select::Select;
use crate::cli::terminal::counted;
use crate::curate::ids::Ids;

/// Arguments of `ewe accept`, `ewe reject` and `ewe unsure`.
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

    /// The reviewer whose opinion this is: the tasks are assigned to this name, and decided once
    /// all their reviewers agree
    #[arg(
        long = "as",
        id = "as",
        value_name = "NAME",
        help_heading = "How they are changed"
    )]
    pub name: Option<String>,

    /// The reason, for the history
    #[arg(long, value_name = "TEXT", help_heading = "How they are changed")]
    pub reason: Option<String>,

    /// Print the result as JSON
    #[arg(long, help_heading = "How they are changed")]
    pub json: bool,
}

/// Exits unless tasks are named in one way.
pub(super) fn check(args: &Args) {
    match (args.ids.is_empty(), args.select.filter().is_empty()) {
        (true, true) => usage("say which tasks: ids, or options such as --origin or --text"),
        (false, false) => usage("say which tasks by ids or by options, not by both"),
        _ => {}
    }
}

/// Exits like clap on a wrong command line.
pub(super) fn usage(what: &str) -> ! {
    clap::Error::raw(
        clap::error::ErrorKind::MissingRequiredArgument,
        format!("{what}\n\nFor more information, try '--help'.\n"),
    )
    .exit()
}

/// Asks on the terminal whether so many tasks are meant to `become accepted`, or what else it is.
pub(super) fn confirm(tasks: i64, what: &str) -> anyhow::Result<()> {
    let tasks = counted(tasks, "task");
    if !std::io::stdin().is_terminal() || !crate::streams::stderr().is_terminal() {
        bail!("{tasks} would {what}; nothing was changed\nhint: --yes does it without asking");
    }
    eprint!("{tasks} will {what}, as one action. Go on? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        bail!("nothing was changed");
    }
    Ok(())
}
