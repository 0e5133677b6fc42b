//! `ewe doctor`

use crate::program::doctor;
use crate::streams;

/// Arguments of `ewe doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It starts ewe-torch, if that is there, for what libtorch and a GPU's driver say. Variables that change what ewe does are
listed; keys and tokens are shown as `set`.")]
pub struct Args {
    /// JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// Prints what was found.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let findings = doctor::examine().await?;
    if args.json {
        println!("{}", streams::json::pretty(&findings.json())?);
    } else {
        print!("{}", findings.text());
    }
    Ok(())
}
