//! `ewe comment`

use std::{io::Write, path::PathBuf};

use anyhow::bail;

use crate::cli::terminal::counted;
use crate::streams::json;
use crate::{
    curate::{self, ids::Ids},
    store::Store,
};

/// Arguments of `ewe comment`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// The tasks' ids, 7, or 7-12 for all of them, and last the comment, in quotes
    #[arg(value_name = "WORDS", required = true)]
    pub words: Vec<String>,

    /// Whose comment it is [default: your name]
    #[arg(long = "as", id = "as", value_name = "NAME")]
    pub name: Option<String>,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Writes a comment beside tasks, as one action.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let said = args.words.split_last();
    let Some((text, words)) = said.filter(|(_, words)| !words.is_empty()) else {
        bail!("say which tasks, and the comment\nhint: `ewe comment 7 \"is this still true?\"`");
    };
    let mut ids = Vec::new();
    for word in words {
        match word.parse::<Ids>() {
            Ok(some) => ids.extend(some.0),
            Err(what) => bail!("`{word}`: {what}\nhint: a comment of several words stands in quotes"),
        }
    }
    let store = Store::open(&args.db).await?;
    let author = args.name.clone().unwrap_or_else(curate::who);
    let change = store.comment(&ids, &author, text).await?;
    store.close().await;
    let mut out = crate::streams::stdout();
    if args.json {
        writeln!(out, "{}", json::value(&serde_json::json!({ "change": change })))?;
        return Ok(());
    }
    if let Some(change) = change {
        writeln!(
            out,
            "comment on {} (action {}; `ewe undo` takes it back)",
            counted(change.tasks, "task"),
            change.group
        )?;
    }
    Ok(())
}
