//! `ewe import`

use std::{io::Write, path::PathBuf};

use crate::{
    interchange::{Format, import},
    report::Figures,
    store::Store,
};

/// Arguments of `ewe import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// The file to read: JSON lines, one JSON array, or Parquet; `-` is standard input
    pub file: PathBuf,

    /// What the file is; told by its first row when left out [possible values: alpaca, dolly, chat, sharegpt, completion, qa,
    /// self-instruct]
    #[arg(long, value_name = "FORMAT", value_parser = super::reading::format)]
    pub format: Option<Format>,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Reads a file into the dataset.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let store = Store::open(&args.db).await?;
    let imported = import::import(&store, &args.file, args.format).await?;
    // Counted while one waits anyway, so that the first look at a chart of many tasks does not take as long.
    Figures::load(&store).await?;
    store.close().await;
    if !imported.unused_fields.is_empty() {
        let fields: Vec<_> = imported
            .unused_fields
            .iter()
            .map(|field| format!("`{field}`"))
            .collect();
        eprintln!(
            "not kept, for a task has no place for them: the fields {}",
            fields.join(", ")
        );
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", super::json::line(&imported)?)?;
    } else {
        let format = imported.format.unwrap_or("no rows");
        writeln!(
            out,
            "{}: {} tasks from `{}` ({format}), pending",
            args.db.display(),
            imported.tasks,
            args.file.display()
        )?;
    }
    Ok(())
}
