//! `ewe man`

use std::path::PathBuf;

use crate::cli::{self, Globals};
use crate::program::pages;
use crate::text::counted;

/// Arguments of `ewe man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ewe man --out man1
  ewe man --out ~/.local/share/man/man1; man ewe-train
  ewe man --quiet --out /usr/local/share/man/man1")]
pub struct Args {
    /// Folder that receives `ewe.1`, and a page for each command, such as `ewe-train.1`
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Writes the pages.
pub fn run(args: &Args, globals: &Globals) -> anyhow::Result<()> {
    let pages = pages::manual(cli::command(), &args.out)?;
    if !globals.quiet {
        println!("{}: {}", args.out.display(), counted(pages as u64, "page"));
    }
    Ok(())
}
