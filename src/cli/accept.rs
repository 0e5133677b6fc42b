//! `ewe accept` and `ewe reject`

use std::{io::Write, path::PathBuf};

use super::terminal::counted;
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
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<Ids>,

    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Sets the review of some tasks, as one action.
pub async fn run(args: &Args, review: Review) -> anyhow::Result<()> {
    let store = Store::open(&args.db).await?;
    let ids: Vec<i64> = args.ids.iter().flat_map(|ids| ids.0.clone()).collect();
    let who = curate::who();
    let change = store
        .review(
            &ids,
            review,
            Actor {
                who: &who,
                note: args.reason.as_deref(),
            },
        )
        .await?;
    store.close().await;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::json!({ "change": change }))?;
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
