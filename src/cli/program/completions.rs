//! `ewe completions`

use std::io::Write;

use clap_complete::Shell;

use crate::cli;
use crate::program::pages;
use crate::streams;

/// Arguments of `ewe completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ewe completions bash > ~/.local/share/bash-completion/completions/ewe
  ewe completions zsh > ~/.zfunc/_ewe
  ewe completions fish > ~/.config/fish/completions/ewe.fish")]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Writes the script to standard output.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let script = pages::completions(cli::command(), args.shell);
    streams::stdout().write_all(&script)?;
    Ok(())
}
