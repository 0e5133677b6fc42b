//! `ewe stats`

use std::{io::Write, path::PathBuf};

use crate::{
    report::{Figures, summary},
    store::Store,
    streams::pager,
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
    let ended = store.finish().await;
    let mut out = Vec::new();
    if args.json {
        writeln!(out, "{}", crate::streams::json::pretty(&figures)?)?;
        let mut stdout = crate::streams::stdout();
        stdout.write_all(&out)?;
        stdout.flush()?;
    } else {
        summary::write(&mut out, &figures)?;
        pager::show(&out, false)?;
    }
    ended?;
    Ok(())
}
