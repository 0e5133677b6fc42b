//! `ewe backup`

use std::path::PathBuf;

use crate::store::Store;

/// Arguments of `ewe backup`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset; others may be using it
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// The copy, a file that does not exist yet
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Copies the dataset.
pub async fn run(args: &Args, globals: &crate::cli::Globals) -> anyhow::Result<()> {
    let store = Store::open_to_read(&args.db).await?;
    store.backup(&args.out).await?;
    store.close().await;
    if args.json {
        let result = serde_json::json!({"db": args.db.to_string_lossy(), "out": args.out.to_string_lossy()});
        println!("{}", crate::streams::json::value(&result));
    } else if !globals.quiet {
        eprintln!("{}: a copy of {}", args.out.display(), args.db.display());
    }
    Ok(())
}
