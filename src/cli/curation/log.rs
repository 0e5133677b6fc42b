//! `ewe log`

use std::{
    io::{BufWriter, Write},
    path::PathBuf,
};

use crate::cli::terminal::{clean, counted};
use crate::store::Store;
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
            if args.json {
                json::write_array(&mut out, &history)?;
            } else {
                for revision in &history {
                    let note = revision
                        .note
                        .as_deref()
                        .map(|note| format!("  {}", clean(note)))
                        .unwrap_or_default();
                    writeln!(
                        out,
                        "{:>6}  {}  {}  {}{note}",
                        revision.group,
                        revision.at,
                        clean(&revision.who),
                        revision.action,
                    )?;
                    if revision.action != "import" {
                        writeln!(
                            out,
                            "        from {}\n        to   {}",
                            clean(&revision.before),
                            clean(&revision.after)
                        )?;
                    }
                }
            }
        }
        None => {
            let actions = store.actions(args.limit).await?;
            if args.json {
                json::write_array(&mut out, &actions)?;
            } else {
                for action in &actions {
                    let what = match action.undoes {
                        Some(undoes) => format!("undo of {undoes}"),
                        None => action.action.clone(),
                    };
                    let tasks = match action.tasks {
                        1 => format!("task {}", action.first_task),
                        tasks => format!("{} from {}", counted(tasks, "task"), action.first_task),
                    };
                    let note = action
                        .note
                        .as_deref()
                        .map(|note| format!("  {}", clean(note)))
                        .unwrap_or_default();
                    let undone = if action.undone { "  (taken back)" } else { "" };
                    let who = clean(&action.who);
                    writeln!(
                        out,
                        "{:>6}  {}  {who}  {what}  {tasks}{note}{undone}",
                        action.group, action.at
                    )?;
                }
            }
        }
    }
    out.flush()?;
    store.finish().await?;
    Ok(())
}
