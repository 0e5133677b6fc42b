//! The command line: one file a command, each a clap struct. Both binaries parse it, so `ewe --help` shows
//! every command; `ewe` hands those that need tensors over to `ewe-torch`.

pub mod args;
pub mod curation;
pub mod data;
mod interrupt;
pub mod models;
mod terminal;
mod tidy;

use std::{path::Path, process::ExitCode};

use crate::{store, streams};

use clap::error::{ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

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
    /// Make a dataset that begins with seed tasks
    Init(data::init::Args),
    /// Let a model write new tasks, until there are enough
    Generate(Box<data::generate::Args>),
    /// Have a model score instances from 1 to 5, with a reason
    Judge(Box<data::judge::Args>),
    /// Judge a file of tasks: rules and near-duplicates
    Filter(data::filter::Args),
    /// Read a file of tasks into the dataset
    Import(data::import::Args),
    /// Write the dataset to a file in one of the field's formats
    Export(data::export::Args),
    /// Show tasks, a line each
    List(curation::list::Args),
    /// Show one task with its neighbours, its origin and its history
    Show(curation::show::Args),
    /// Find tasks by their words
    Search(curation::search::Args),
    /// Want tasks in the dataset
    Accept(curation::accept::Args),
    /// Want tasks out of the dataset
    Reject(curation::reject::Args),
    /// Change the texts of a task
    Edit(curation::edit::Args),
    /// Take back the latest action, or any other
    Undo(curation::undo::Args),
    /// Show what was done to the dataset
    Log(curation::log::Args),
    /// Copy the dataset to another file, also while it is in use
    Backup(data::backup::Args),
    /// Look whether the dataset is in order
    Check(data::check::Args),
    /// Decide about pending tasks one after another, a key each
    Review(curation::review::Args),
    /// Look at tasks and decide about them on a page in the browser
    Curate(curation::curate::Args),
    /// Write figures and charts to one HTML file
    Report(curation::report::Args),
    /// Count what is in the dataset and what it cost
    Stats(curation::stats::Args),
    /// Fine-tune a model on the dataset
    Train(models::train::Args),
    /// Make a model of a model and an adapter
    Merge(models::merge::Args),
    /// Say what a fine-tune needs in memory and time, before anything runs
    Plan(models::plan::Args),
    /// Continue the prompts of a file
    Complete(models::complete::Args),
    /// Negative log-likelihood of completions
    Score(models::score::Args),
    /// Talk to a model
    Chat(models::chat::Args),
    /// Serve a model behind an OpenAI-compatible endpoint
    Serve(models::serve::Args),
    /// Check the tensor half on this machine
    Selftest(models::selftest::Args),
}

impl Command {
    /// The dataset that the command works on.
    pub fn db(&self) -> Option<&Path> {
        match self {
            Command::Init(args) => Some(&args.db),
            Command::Generate(args) => Some(&args.db),
            Command::Judge(args) => Some(&args.db),
            Command::Import(args) => Some(&args.db),
            Command::Export(args) => Some(&args.db),
            Command::List(args) => Some(&args.db),
            Command::Show(args) => Some(&args.db),
            Command::Search(args) => Some(&args.db),
            Command::Accept(args) | Command::Reject(args) => Some(&args.db),
            Command::Edit(args) => Some(&args.db),
            Command::Undo(args) => Some(&args.db),
            Command::Log(args) => Some(&args.db),
            Command::Review(args) => Some(&args.db),
            Command::Backup(args) => Some(&args.db),
            Command::Check(args) => Some(&args.db),
            Command::Curate(args) => Some(&args.db),
            Command::Filter(args) => args.db.as_deref(),
            Command::Report(args) => Some(&args.db),
            Command::Stats(args) => Some(&args.db),
            _ => None,
        }
    }
}

/// Reads the command line.
///
/// # Errors
///
/// The exit code, where there is nothing to do but what was said: a mistake, or help that was asked for.
pub fn parse() -> Result<Cli, ExitCode> {
    if let Some(code) = tidy::if_asked() {
        return Err(code);
    }
    let read = || {
        let matches = Cli::command().try_get_matches()?;
        if let Some((name, options)) = matches.subcommand()
            && let Err(what) = args::together::check(name, options)
        {
            let mut command = Cli::command();
            return Err(command.error(ErrorKind::ArgumentConflict, what));
        }
        Ok((Cli::from_arg_matches(&matches)?, matches))
    };
    let (cli, matches) = read().map_err(misread)?;
    match args::paths::check(&matches) {
        Ok(()) => Ok(cli),
        Err(error) => Err(end(&cli.command, Err(error))),
    }
}

/// Says what is wrong with the command line, which may have in it what a terminal would obey; or the help that was asked for.
fn misread(error: clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let printed = streams::stdout().is_open().and_then(|()| error.print());
        let printed = printed.map_err(streams::refused).and_then(|()| streams::finish());
        return status(printed.map(|()| 0).map_err(Into::into), told);
    }
    // Looked for in what was typed: clap's text without colours is without escape sequences of others, too.
    let is_harmless = std::env::args_os().all(|argument| {
        let argument = argument.to_string_lossy();
        terminal::clean(&argument) == *argument
    });
    let error = visible(error);
    if is_harmless {
        // In colours, and nobody may be there to read it.
        let _ = error.print();
    } else {
        eprint!("{}", terminal::clean(&error.render().to_string()));
    }
    ExitCode::from(2)
}

/// The error with all that was typed in it visible; of escape sequences clap would show nothing.
fn visible(mut error: clap::Error) -> clap::Error {
    let typed: Vec<_> = error
        .context()
        .filter_map(|(kind, value)| {
            let clean = match value {
                ContextValue::String(text) => ContextValue::String(terminal::clean(text)),
                ContextValue::Strings(texts) => {
                    ContextValue::Strings(texts.iter().map(|text| terminal::clean(text)).collect())
                }
                _ => return None,
            };
            Some((kind, clean))
        })
        .collect();
    for (kind, clean) in typed {
        error.insert(kind, clean);
    }
    error
}

/// Sends the log to stderr, as much of it as was asked for; in colours on a terminal, unless `NO_COLOR` is set
/// (no-color.org).
pub fn log_to_stderr(globals: &Globals) {
    let level = match (globals.quiet, globals.verbose) {
        (true, _) => tracing::Level::ERROR,
        (false, 0) => tracing::Level::WARN,
        (false, 1) => tracing::Level::INFO,
        (false, _) => tracing::Level::DEBUG,
    };
    let is_colourless = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_writer(streams::stderr)
        .with_max_level(level)
        .with_ansi(streams::stderr().is_terminal() && !is_colourless)
        .with_target(false)
        .without_time()
        .init();
}

/// An error and what led to it on one line, the hints of all of them below: a hint is a way out, and no part of the cause. What a
/// terminal would obey is made visible.
pub fn told(error: &anyhow::Error) -> String {
    let (mut causes, mut hints): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for cause in error.chain() {
        let text = cause.to_string();
        let (what, hint) = text.split_once("\nhint:").unwrap_or((&text, ""));
        // Some errors say their cause themselves.
        if !causes.last().is_some_and(|last| last.ends_with(what)) {
            causes.push(what.to_owned());
        }
        if !hint.is_empty() && !hints.iter().any(|known| known == hint) {
            hints.push(hint.to_owned());
        }
    }
    let mut text = causes.join(": ");
    for hint in hints {
        text.push_str("\nhint:");
        text.push_str(&hint);
    }
    terminal::clean(&text)
}

/// The error and what led to it on one line, hints below. Errors from within the store do not know the file's name.
fn message(command: &Command, error: &anyhow::Error) -> String {
    match (error.downcast_ref::<store::Error>(), command.db()) {
        (Some(inner), Some(db)) if !inner.names_file() => {
            format!("`{}`: {}", terminal::clean(&db.to_string_lossy()), told(error))
        }
        _ => told(error),
    }
}

/// Whether whoever read our output has had enough of it, as `head` does.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let json = cause
            .downcast_ref::<serde_json::Error>()
            .and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(std::io::ErrorKind::BrokenPipe)
    })
}

/// Says how a command went: its error on stderr, its exit code to the caller. What could not be written to standard output
/// is an error, too.
pub fn end(command: &Command, result: anyhow::Result<u8>) -> ExitCode {
    let result = result.and_then(|code| Ok(streams::finish().map(|()| code)?));
    status(result, |error| message(command, error))
}

fn status(result: anyhow::Result<u8>, message: impl Fn(&anyhow::Error) -> String) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", message(&error));
            ExitCode::FAILURE
        }
    }
}
