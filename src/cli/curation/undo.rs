//! `ewe undo`

use std::{io::Write, path::PathBuf};

use crate::cli::terminal::counted;
use crate::streams::json;
use crate::{
    curate,
    store::{Actor, Store},
};

/// Arguments of `ewe undo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// The action to undo, by its number in `ewe log`; the latest if left out. Undoing an undo is a
    /// redo
    #[arg(value_name = "ACTION", value_parser = crate::cli::args::number::id)]
    pub group: Option<i64>,

    /// Redo: take back the latest undo
    #[arg(long, conflicts_with = "group")]
    pub redo: bool,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Takes an action back.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let store = Store::open(&args.db).await?;
    let who = curate::who();
    let actor = Actor {
        who: &who,
        note: None,
    };
    let change = match args.group {
        Some(group) => store.undo_group(group, actor).await?,
        None if args.redo => store.redo(actor).await?,
        None => store.undo(actor).await?,
    };
    store.close().await;
    let mut out = crate::streams::stdout();
    if args.json {
        writeln!(out, "{}", json::value(&serde_json::json!({ "change": change })))?;
        return Ok(());
    }
    let undone = change.undoes.unwrap_or_default();
    writeln!(
        out,
        "action {undone} taken back, {} (action {}; `ewe undo {}` brings it back)",
        counted(change.tasks, "task"),
        change.group,
        change.group
    )?;
    Ok(())
}
