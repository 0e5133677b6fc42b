//! `ewe-torch`: everything with tensors, on top of the `ewe` library. In reading order:
//!
//! - [`model`]: GPT-J and Gemma 3, shared layers, weights, the KV cache.
//! - [`engine`]: token generation: the running batch, sampling, shared prefixes.
//! - [`eval`], [`chat`]: `complete`, `score`; `chat`, `serve`.
//! - [`train`]: fine-tuning.

mod chat;
mod engine;
mod eval;
mod model;
mod train;

use clap::Parser;
use ewe::cli::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    model::device::prepare();
    match run(&cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<u8> {
    let quiet = cli.globals.quiet;
    match &cli.command {
        Command::Train(args) => return train::run::run(args, quiet),
        Command::Complete(args) => eval::complete::run(args, quiet)?,
        Command::Score(args) => eval::score::run(args, quiet)?,
        Command::Chat(args) => chat::terminal::run(args)?,
        Command::Serve(args) => chat::serve::run(args, quiet)?,
        _ => anyhow::bail!("not a command of ewe-torch\nhint: run it through `ewe`"),
    }
    Ok(0)
}
