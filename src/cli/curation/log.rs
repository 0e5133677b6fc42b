//! `ewe log`

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use crate::cli::terminal::{clean, counted};
use crate::store::Store;
use crate::store::curation::log::{Action, Revision};
use crate::streams::json;

/// Arguments of `ewe log`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// Show every change of this task; without it, the latest actions
    #[arg(value_parser = crate::cli::args::number::id)]
    pub id: Option<i64>,

    /// How many actions to show
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(i64).range(1..=1_000_000_000))]
    pub limit: i64,

    /// Print a JSON array, one action per line
    #[arg(long)]
    pub json: bool,
}

/// Prints the history.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let store = Store::open_to_read(&args.db).await?;
    let mut out = BufWriter::new(crate::streams::stdout());
    match args.id {
        Some(id) => {
            store.task(id).await?;
            let history = store.history(id).await?;
            match args.json {
                true => json::write_array(&mut out, &history)?,
                false => history
                    .iter()
                    .try_for_each(|change| write_change(&mut out, change))?,
            }
        }
        None => {
            let actions = store.actions(args.limit).await?;
            match args.json {
                true => json::write_array(&mut out, &actions)?,
                false => actions
                    .iter()
                    .try_for_each(|action| write_action(&mut out, action))?,
            }
        }
    }
    out.flush()?;
    store.finish().await?;
    Ok(())
}

/// Writes a change of a task: who made it when, and the text before and after.
fn write_change(out: &mut impl Write, change: &Revision) -> io::Result<()> {
    writeln!(
        out,
        "{:>6}  {}  {}  {}{}",
        change.group,
        change.at,
        clean(&change.who),
        change.action,
        note(change.note.as_deref()),
    )?;
    // There is nothing before an import.
    if change.action == "import" {
        return Ok(());
    }
    writeln!(
        out,
        "        from {}\n        to   {}",
        clean(&change.before),
        clean(&change.after)
    )
}

/// Writes an action on a line.
fn write_action(out: &mut impl Write, action: &Action) -> io::Result<()> {
    let what = match action.undoes {
        Some(undoes) => format!("undo of {undoes}"),
        None => action.action.clone(),
    };
    let tasks = match action.tasks {
        1 => format!("task {}", action.first_task),
        tasks => format!("{}, the first is {}", counted(tasks, "task"), action.first_task),
    };
    writeln!(
        out,
        "{:>6}  {}  {}  {what}  {tasks}{}{}",
        action.group,
        action.at,
        clean(&action.who),
        note(action.note.as_deref()),
        if action.undone { "  (taken back)" } else { "" },
    )
}

/// A remark at the end of a line, if there is one.
fn note(note: Option<&str>) -> String {
    note.map(|note| format!("  {}", clean(note))).unwrap_or_default()
}
