//! `ewe`: the data half. Runs a command and prints its error. The exit code is 0 for success, 1 for
//! failure, 2 for wrong usage, 130 for an interruption after a clean stop. Commands that need
//! tensors are handed over to `ewe-torch`.

use std::process::ExitCode;

use ewe::{
    cli::{self, Cli},
    program::torch_half::{hand_over, launch},
    signals,
};

fn main() -> ExitCode {
    signals::end_with_parent();
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    cli::log_to_stderr(&cli.globals);
    cli::end(&cli.command, run(&cli))
}

fn run(cli: &Cli) -> anyhow::Result<u8> {
    match cli::dispatch::run(cli)? {
        Some(code) => Ok(code),
        None => match cli.ranks()? {
            Some(ranks) => launch(&ranks),
            None => Err(hand_over()),
        },
    }
}
