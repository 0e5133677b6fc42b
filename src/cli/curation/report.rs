//! `ewe report`

use std::path::PathBuf;

use crate::{report::page, store::Store};

/// Arguments of `ewe report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// The HTML file to write, replaced as a whole; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Writes the report.
pub async fn run(args: &Args, globals: &crate::cli::Globals) -> anyhow::Result<()> {
    let store = Store::open_to_read(&args.db).await?;
    page::write(&store, &args.out).await?;
    store.close().await;
    if args.json {
        let result = serde_json::json!({"db": args.db.to_string_lossy(), "out": args.out.to_string_lossy()});
        println!("{}", crate::streams::json::value(&result));
    } else if !globals.quiet {
        eprintln!("{}: written; any browser shows it", args.out.display());
    }
    Ok(())
}
