//! `ewe stats`

use std::{
    io::{BufWriter, Write},
    path::PathBuf,
};

use crate::{
    report::{Figures, summary},
    store::Store,
};

/// Arguments of `ewe stats`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Prints the figures of a dataset.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let store = Store::open_to_read(&args.db).await?;
    let figures = Figures::load(&store).await?;
    let mut out = BufWriter::new(crate::streams::stdout());
    if args.json {
        writeln!(out, "{}", crate::streams::json::pretty(&figures)?)?;
    } else {
        summary::write(&mut out, &figures)?;
    }
    out.flush()?;
    store.finish().await?;
    Ok(())
}
