//! `ewe-torch`: everything with tensors, on top of the `ewe` library. In reading order:
//!
//! - `model`: GPT-J and Gemma 3, shared layers, weights, the KV cache.
//! - `engine`: token generation.
//! - `eval`, `chat`: `score`, `complete`, `chat`, `serve`.
//! - `train`: fine-tuning.

mod model;
mod train;

use clap::Parser;
use ewe::cli::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Train(args) => train::run::run(args, cli.globals.quiet),
        _ => Err(anyhow::anyhow!("not a command of ewe-torch")),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
