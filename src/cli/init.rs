//! `ewe init`

use std::{io::Write, path::PathBuf};

use crate::interchange::seeds;

/// Arguments of `ewe init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset to make
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// Begin with the tasks of this file (JSON lines) instead of those that come with ewe
    #[arg(long, value_name = "FILE")]
    pub seeds: Option<PathBuf>,
}

/// Makes a dataset.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let file = args.seeds.as_deref();
    let seeds = seeds::read(file)?;
    let (store, tasks) = seeds::init(&args.db, seeds, file).await?;
    store.close().await;
    writeln!(
        std::io::stdout(),
        "{}: a dataset with {tasks} seed tasks",
        args.db.display()
    )?;
    Ok(())
}
