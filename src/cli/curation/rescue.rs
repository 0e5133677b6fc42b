//! `ewe rescue`

use std::{io::Write, path::PathBuf};

use crate::cli::terminal::counted;
use crate::streams::json;
use crate::text::shell_word;
use crate::{
    curate::{self, ids::Ids},
    store::{Actor, Store},
};

/// Arguments of `ewe rescue`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// The candidates' ids: 7, or 7-12 for all of them
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<Ids>,

    /// The reason, for the history
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Makes pending tasks of rejected candidates, as one action.
pub async fn run(args: &Args, quiet: bool) -> anyhow::Result<()> {
    let store = Store::open(&args.db).await?;
    let who = curate::who();
    let ids: Vec<i64> = args.ids.iter().flat_map(|ids| ids.0.clone()).collect();
    let actor = Actor {
        who: &who,
        note: args.reason.as_deref(),
    };
    let rescue = store.rescue(&ids, actor).await?;
    store.close().await;
    let mut out = crate::streams::stdout();
    if args.json {
        writeln!(out, "{}", json::value(&serde_json::json!(rescue)))?;
        return Ok(());
    }
    let first = rescue.tasks.first().copied().unwrap_or_default();
    match rescue.change {
        Some(change) => {
            writeln!(
                out,
                "{} rescued: {} pending (action {}; `ewe undo` takes it back)",
                counted(ids.len() as i64, "candidate"),
                counted(change.tasks, "task"),
                change.group
            )?;
            if !quiet {
                eprintln!(
                    "the first is task {first}: `ewe show --db {} {first}`",
                    shell_word(&args.db)
                );
            }
        }
        None => writeln!(out, "nothing to do: rescued already, as task {first}")?,
    }
    Ok(())
}
