//! The command line: one file per command, each with a clap struct. Both binaries parse it, so that
//! `ewe --help` lists all commands; `ewe` hands those that need tensors over to `ewe-torch`.

pub mod args;
pub mod curation;
pub mod data;
pub mod dispatch;
pub mod help;
mod interrupt;
pub mod models;

pub mod program;
mod settings;
mod terminal;
mod tidy;
mod tree;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::program::about;
use crate::ranks::launch::Ranks;
use crate::ranks::place::Place;
use crate::settings::written::RunOptions;
use crate::text::format_error;
use crate::{store, streams};

use clap::error::{ContextValue, ErrorKind};
use clap::{ArgMatches, FromArgMatches, Parser, Subcommand};

/// Grow a private instruction dataset from a few seed tasks, curate it in SQLite, fine-tune a model
/// on it.
#[derive(Debug, Parser)]
#[command(name = "ewe", version = about::VERSION_WITH_COMMIT, max_term_width = 80, propagate_version = true)]
pub struct Cli {
    /// How much to print.
    #[command(flatten)]
    pub globals: Globals,

    /// What to do
    #[command(subcommand)]
    pub command: Command,

    /// The options of a training run, which it records. Not typed.
    #[arg(skip)]
    pub options: RunOptions,
}

/// Options of every command.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Globals {
    /// Print only results and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// Print more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Options in a TOML file; what is typed goes before [default: ewe.toml, here or further up in
    /// the repository or the home folder]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Read no file of options
    #[arg(long, global = true, conflicts_with = "config")]
    pub no_config: bool,
}

/// Every command of both binaries.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a dataset from seed tasks
    Init(data::init::Args),
    /// Generate new tasks with a model, until there are enough
    Generate(Box<data::generate::Args>),
    /// Have a model score instances from 1 to 5, with a reason
    Judge(Box<data::judge::Args>),
    /// Have a program of yours accept or reject the rows of the dataset
    Validate(Box<data::validate::Args>),
    /// Check a recipe of your own, or print a built-in one to begin with
    Recipe(data::recipe::Args),
    /// Screen a file of tasks: rules and near-duplicates
    Filter(data::filter::Args),
    /// Import a file of tasks into the dataset
    Import(data::import::Args),
    /// Read documents into the dataset, to make tasks from their passages
    AddDocuments(data::add_documents::Args),
    /// Export the dataset to a file in one of the field's formats
    Export(data::export::Args),
    /// List tasks, one per line
    List(curation::list::Args),
    /// Show one task with its neighbors, its origin and its history
    Show(curation::show::Args),
    /// Search tasks by their words
    Search(curation::search::Args),
    /// List rejected candidates: what the rules threw away, and why
    Candidates(curation::candidates::Args),
    /// Make tasks of rejected candidates
    Rescue(curation::rescue::Args),
    /// Accept tasks: keep them in the dataset
    Accept(curation::accept::Args),
    /// Reject tasks: keep them out of the dataset
    Reject(curation::reject::Args),
    /// Leave tasks that are assigned to a reviewer to somebody else
    Unsure(curation::unsure::Args),
    /// Assign tasks to reviewers, or withdraw them
    Assign(curation::assign::Args),
    /// Show how far reviewers agree: kappa of every two, alpha of all
    Agreement(curation::agreement::Args),
    /// Write a comment beside tasks
    Comment(curation::comment::Args),
    /// Edit the texts of a task
    Edit(curation::edit::Args),
    /// Add fields of your own to tasks, such as a difficulty: add, list, rename, change, remove
    Field(curation::field::Args),
    /// Give tasks values of your fields
    Label(curation::label::Args),
    /// Undo the latest action, or any other
    Undo(curation::undo::Args),
    /// Show the history of actions
    Log(curation::log::Args),
    /// Copy the dataset to another file, even while it is in use
    Backup(data::backup::Args),
    /// Make one dataset of several, such as those of several machines
    MergeDb(data::merge_db::Args),
    /// Check the integrity of the dataset
    Check(data::check::Args),
    /// Review pending tasks one after another in the terminal
    Review(curation::review::Args),
    /// Review and edit tasks on a web page
    Curate(curation::curate::Args),
    /// Write figures and charts to one HTML file
    Report(curation::report::Args),
    /// Print counts of the dataset and the cost of its runs
    Stats(curation::stats::Args),
    /// Hold tasks out for evaluation, by share or number
    Split(data::split::Args),
    /// Fine-tune a model on the dataset
    Train(models::train::Args),
    /// Train on the dataset, and say whether it made the model better and which rows made it worse
    Gain(models::gain::Args),
    /// Merge an adapter into its base model
    Merge(models::merge::Args),
    /// Push a model, an adapter or a dataset to the Hugging Face hub
    Push(Box<models::push::Args>),
    /// Estimate the memory and time of a fine-tune, before anything runs
    Plan(models::plan::Args),
    /// Complete the prompts of a file
    Complete(models::complete::Args),
    /// Compute the negative log-likelihood of completions
    Score(models::score::Args),
    /// Find the rows that lower the loss on held-out tasks, and those that raise it
    Influence(models::influence::Args),
    /// Evaluate a model on suites, with error bars
    Eval(Box<models::eval::Args>),
    /// Compare the answers of two models, by a judge that is examined first, or by people
    Compare(Box<models::compare::Args>),
    /// Chat with a model
    Chat(models::chat::Args),
    /// Serve a model behind an OpenAI-compatible endpoint
    Serve(models::serve::Args),
    /// Check on this machine that models are computed and trained right
    Selftest(models::selftest::Args),
    /// Show which options hold for a command, and where each comes from
    Config(program::config::Args),
    /// Do everything once, from seed tasks to a fine-tuned model, with the commands shown
    Demo(program::demo::Args),
    /// Print what a bug report needs: versions, libtorch, GPU, processor, memory, settings
    #[command(alias = "version")]
    Doctor(program::doctor::Args),
    /// Print the script with which a shell completes commands and options
    Completions(program::completions::Args),
    /// Write manual pages
    Man(program::man::Args),
}

impl Command {
    /// Returns the dataset of the command.
    pub fn db(&self) -> Option<&Path> {
        match self {
            Command::Init(args) => Some(&args.db),
            Command::Generate(args) => Some(&args.db),
            Command::Judge(args) => Some(&args.db),
            Command::Import(args) => Some(&args.db),
            Command::AddDocuments(args) => args.db.as_deref(),
            Command::Export(args) => Some(&args.db),
            Command::List(args) => Some(&args.db),
            Command::Show(args) => Some(&args.db),
            Command::Search(args) => Some(&args.db),
            Command::Candidates(args) => Some(&args.db),
            Command::Rescue(args) => Some(&args.db),
            Command::Accept(args) | Command::Reject(args) | Command::Unsure(args) => Some(&args.db),
            Command::Assign(args) => Some(&args.db),
            Command::Agreement(args) => Some(&args.db),
            Command::Comment(args) => Some(&args.db),
            Command::Edit(args) => Some(&args.db),
            Command::Field(args) => Some(&args.db),
            Command::Label(args) => Some(&args.db),
            Command::Undo(args) => Some(&args.db),
            Command::Log(args) => Some(&args.db),
            Command::Review(args) => Some(&args.db),
            Command::Backup(args) => Some(&args.db),
            Command::Check(args) => Some(&args.db),
            Command::Curate(args) => Some(&args.db),
            Command::Filter(args) => args.db.as_deref(),
            Command::Compare(args) => args.db.as_deref(),
            Command::Eval(args) => args.db.as_deref(),
            Command::Push(args) => args.db.as_deref(),
            Command::Validate(args) => Some(&args.db),
            Command::Recipe(args) => args.db.as_deref(),
            Command::Report(args) => Some(&args.db),
            Command::Stats(args) => Some(&args.db),
            Command::Influence(args) => Some(&args.db),
            Command::Score(args) => args.db.as_deref(),
            Command::Split(args) => Some(&args.db),
            Command::Gain(args) => Some(&args.db),
            _ => None,
        }
    }
}

impl Cli {
    /// Returns the ranks that the command is to be started in; none if it runs in this process, or
    /// this process is one of them.
    ///
    /// # Errors
    ///
    /// When the environment makes this process one of another number of ranks, or is faulty.
    pub fn ranks(&self) -> anyhow::Result<Option<Ranks>> {
        let Command::Train(args) = &self.command else {
            return Ok(None);
        };
        let job = args.ranks.job();
        match (Place::of_environment()?, job.count) {
            (Some(place), Some(count)) if place.size != count => anyhow::bail!(
                "this is rank {} of {}, as the environment says, and --ranks or --gpus is {count}\nhint: leave --ranks and --gpus \
                 away under torchrun and srun",
                place.rank,
                place.size
            ),
            (None, Some(count)) if !args.dry_run && args.show_rows.is_none() => Ok(Some(Ranks {
                count,
                restarts: job.restarts,
                quiet: self.globals.quiet,
            })),
            _ => Ok(None),
        }
    }
}

/// Returns the whole command line for clap, as the help shows it.
pub fn command() -> clap::Command {
    tree::whole()
}

/// Parses the command line, with what files and the environment add to it.
///
/// # Errors
///
/// The exit code, if the command line is wrong or asks for help, which has been printed.
pub fn parse() -> Result<Cli, ExitCode> {
    if let Some(code) = tidy::if_asked() {
        return Err(code);
    }
    let typed: Vec<OsString> = std::env::args_os().collect();
    let line = settings::added(typed).map_err(|error| {
        eprintln!("error: {}", terminal::clean(&format_error(&error)));
        ExitCode::from(2)
    })?;
    let (cli, matches) = read(&line).map_err(|error| misread(error, &line))?;
    match args::paths::check(&matches) {
        Ok(()) => Ok(cli),
        Err(error) => Err(end(&cli.command, Err(error))),
    }
}

/// Parses a command line that is complete.
fn read(line: &[OsString]) -> Result<(Cli, ArgMatches), clap::Error> {
    let matches = matches(line)?;
    if let Some((name, options)) = matches.subcommand()
        && let Err(what) = args::together::check(name, options)
    {
        return Err(misfit(name, what));
    }
    let mut cli = Cli::from_arg_matches(&matches)?;
    match &mut cli.command {
        Command::Train(_) => cli.options = settings::of_run(line, &matches),
        Command::Gain(args) => args.training = Some(models::gain::training(args)?),
        _ => {}
    }
    Ok((cli, matches))
}

/// An error about options of the command `name` that do not go together, with its usage.
fn misfit(name: &str, what: String) -> clap::Error {
    let mut all = command();
    // Only then commands know that they are called `ewe NAME`.
    all.build();
    match all.find_subcommand_mut(name) {
        Some(own) => own.error(ErrorKind::ArgumentConflict, what),
        None => all.error(ErrorKind::ArgumentConflict, what),
    }
}

/// Parses a line by its command alone, and by all of them only if it has a fault or asks for help.
fn matches(line: &[OsString]) -> Result<ArgMatches, clap::Error> {
    if let Some(mut own) = tree::of_line(line) {
        match own.try_get_matches_from_mut(line) {
            Err(error) if error.kind() != ErrorKind::DisplayVersion => {}
            parsed => return parsed,
        }
    }
    command().try_get_matches_from(line)
}

/// Prints the requested help, or what is wrong with the command line, which may have characters
/// that a terminal would obey.
fn misread(error: clap::Error, line: &[OsString]) -> ExitCode {
    if !error.use_stderr() {
        let printed = streams::stdout().is_open().and_then(|()| error.print());
        if printed.is_ok()
            && error.kind() == ErrorKind::DisplayVersion
            && line.iter().any(|word| word == "--version")
        {
            print!("{}", about::surroundings());
        }
        let printed = printed.map_err(streams::refused).and_then(|()| streams::finish());
        return status(printed.map(|()| 0).map_err(Into::into), format_error);
    }
    // Arguments are checked, since clap's text without colors lacks their escape sequences, too.
    let is_harmless = line.iter().all(|argument| {
        let argument = argument.to_string_lossy();
        terminal::clean(&argument) == *argument
    });
    let error = visible(error);
    if is_harmless {
        // In colors; it does not matter if nobody can read it.
        let _ = error.print();
    } else {
        eprint!("{}", terminal::clean(&error.render().to_string()));
    }
    ExitCode::from(2)
}

/// Makes control characters in quoted arguments visible; clap would drop escape sequences.
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

/// Logs to standard error at the requested level; in colors where the terminal and the environment
/// want them.
pub fn log_to_stderr(globals: &Globals) {
    let level = match (globals.quiet, globals.verbose) {
        (true, _) => tracing::Level::ERROR,
        (false, 0) => tracing::Level::WARN,
        (false, 1) => tracing::Level::INFO,
        (false, _) => tracing::Level::DEBUG,
    };
    tracing_subscriber::fmt()
        .with_writer(streams::stderr)
        .with_max_level(level)
        .with_ansi(streams::stderr().is_colored())
        .with_target(false)
        .without_time()
        .init();
}

/// Formats an error with its causes on one line and hints below. Errors within the store do not
/// know the file's name, which is added.
fn message(command: &Command, error: &anyhow::Error) -> String {
    match (error.downcast_ref::<store::Error>(), command.db()) {
        (Some(inner), Some(db)) if !inner.names_file() => {
            format!(
                "`{}`: {}",
                terminal::clean(&db.to_string_lossy()),
                format_error(error)
            )
        }
        _ => format_error(error),
    }
}

/// Whether the reader of our output has had enough, as `head` does.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let json = cause
            .downcast_ref::<serde_json::Error>()
            .and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(std::io::ErrorKind::BrokenPipe)
    })
}

/// Prints the error of a command and returns its exit code. Output that could not be written is an
/// error, too.
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
