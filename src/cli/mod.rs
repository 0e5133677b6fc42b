//! The command line: one file a command, each a clap struct. Both binaries parse it, so `ewe --help` shows
//! every command; `ewe` hands those that need tensors over to `ewe-torch`.

pub mod chat;
pub mod complete;
pub mod generate;
pub mod plan;
pub mod score;
pub mod selftest;
pub mod serve;
pub mod train;

use clap::{Parser, Subcommand};

/// Grow a private instruction dataset from a few seed tasks, curate it in SQLite, fine-tune a model on it.
#[derive(Debug, Parser)]
#[command(name = "ewe", version, max_term_width = 100, propagate_version = true)]
pub struct Cli {
    /// How much to say.
    #[command(flatten)]
    pub globals: Globals,

    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, clap::Args)]
pub struct Globals {
    /// Say less: only results and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// Say more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// Every command of both binaries.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Let a model write new tasks, until there are enough
    Generate(generate::Args),
    /// Fine-tune a model on the dataset
    Train(train::Args),
    /// Say what a fine-tune needs in memory and time, before anything runs
    Plan(plan::Args),
    /// Continue the prompts of a file
    Complete(complete::Args),
    /// Negative log-likelihood of completions
    Score(score::Args),
    /// Talk to a model
    Chat(chat::Args),
    /// Serve a model behind an OpenAI-compatible endpoint
    Serve(serve::Args),
    /// Check the tensor half on this machine
    Selftest(selftest::Args),
}
