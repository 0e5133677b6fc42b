//! `ewe log`

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use crate::cli::terminal::{clean, counted};
use crate::store::Store;
use crate::store::curation::log::{Action, Revision};
use crate::streams::pager;
use crate::streams::{csv, json};

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

    /// Print a table in CSV
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
}

/// The columns of `--csv`: the fields of an action, as in JSON.
const ACTIONS: [&str; 9] = [
    "group",
    "at",
    "who",
    "action",
    "tasks",
    "first_task",
    "note",
    "undoes",
    "undone",
];

/// The same for the changes of a task.
const CHANGES: [&str; 10] = [
    "group",
    "at",
    "who",
    "action",
    "instance_id",
    "field",
    "before",
    "after",
    "note",
    "undoes",
];

/// Prints the history.
pub async fn run(args: &Args, quiet: bool) -> anyhow::Result<()> {
    let store = Store::open_to_read(&args.db).await?;
    let mut out = Vec::new();
    match args.id {
        Some(id) => {
            store.task(id).await?;
            let history = store.history(id).await?;
            write(&mut out, args, &CHANGES, &history, |out, change| {
                write_change(out, change)
            })?;
        }
        None => {
            let actions = store.actions(args.limit).await?;
            write(&mut out, args, &ACTIONS, &actions, |out, action| {
                write_action(out, action)
            })?;
        }
    }
    let ended = store.finish().await;
    if out.is_empty() && !quiet {
        eprintln!("nothing was changed yet: accepting, editing and all other actions stand here");
    }
    match args.json || args.csv {
        true => {
            let mut stdout = crate::streams::stdout();
            stdout.write_all(&out)?;
            stdout.flush()?;
        }
        false => pager::show(&out, false)?,
    }
    ended?;
    Ok(())
}

/// Writes the rows in the format that the options ask for; `line` writes one for people.
fn write<T: Serialize>(
    out: &mut Vec<u8>,
    args: &Args,
    header: &[&str],
    rows: &[T],
    line: fn(&mut Vec<u8>, &T) -> io::Result<()>,
) -> anyhow::Result<()> {
    match (args.json, args.csv) {
        (true, _) => json::write_array(out, rows),
        (_, true) => csv::write(out, header, rows),
        _ => Ok(rows.iter().try_for_each(|row| line(out, row))?),
    }
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
    // There is nothing before an import, and nothing to compare in what is beside a task.
    if matches!(change.action.as_str(), "import" | "rescue") || change.before == change.after {
        return Ok(());
    }
    let (before, after) = change.sides();
    writeln!(
        out,
        "        from {}\n        to   {}",
        clean(&before),
        clean(&after)
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
