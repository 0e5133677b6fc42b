//! `ewe-torch`: everything with tensors, on top of the `ewe` library. In reading order:
//!
//! - [`model`]: GPT-J and Gemma 3, shared layers, weights, the KV cache.
//! - [`engine`]: token generation: the running batch, sampling, shared prefixes.
//! - [`eval`], [`chat`]: `complete`, `score`; `chat`, `serve`.

mod engine;
mod eval;
mod model;

use std::process::ExitCode;

use clap::Parser;
use ewe::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    model::device::set_threads();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    match &cli.command {
        Command::Complete(args) => eval::complete::run(args, cli.quiet),
        Command::Score(args) => eval::score::run(args, cli.quiet),
        other => anyhow::bail!("`ewe-torch` does not do this: {other:?}\nhint: run it through `ewe`"),
    }
}
