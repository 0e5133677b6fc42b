//! `ewe`: the data half. Commands that need tensors are handed over to `ewe-torch`.

use clap::Parser;

fn main() {
    let _cli = ewe::cli::Cli::parse();
}
