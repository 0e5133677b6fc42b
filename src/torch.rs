//! `ewe-torch`: everything with tensors, on top of the `ewe` library. In reading order:
//!
//! - [`model`]: GPT-J, GPT-NeoX, the Llama family, Gemma 3; shared layers, weights, the KV cache.
//! - [`engine`]: token generation: the running batch, sampling, shared prefixes.
//! - [`eval`], [`chat`]: `complete`, `score`; `chat`, `serve`.
//! - [`train`]: `train`, `plan`, `selftest`.
//! - [`shim`]: what libtorch's binding lacks, in C++.

// For its macros, which take the place of the standard library's.
#[macro_use]
extern crate ewe;

mod chat;
mod engine;
mod eval;
mod model;
mod shim;
mod train;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use engine::handle::LocalBackend;
use ewe::backend::Backend;
use ewe::cli::args::local::{Engine, Place};
use ewe::cli::{self, Cli, Command};

fn main() -> ExitCode {
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    cli::log_to_stderr(&cli.globals);
    model::device::prepare();
    cli::end(&cli.command, model::fault::caught(|| run(&cli)))
}

fn run(cli: &Cli) -> Result<u8> {
    let quiet = cli.globals.quiet;
    match &cli.command {
        Command::Generate(args) => generate(args, quiet),
        Command::Judge(args) => judge(args, quiet),
        Command::Train(args) => train::run::run(args, quiet),
        Command::Merge(args) => train::out::merge::run(args, quiet).map(|()| 0),
        Command::Complete(args) => eval::complete::run(args, quiet).map(|()| 0),
        Command::Score(args) => eval::score::run(args, quiet).map(|()| 0),
        Command::Chat(args) => chat::terminal::run(args, quiet).map(|()| 0),
        Command::Serve(args) => chat::serve::run(args, quiet),
        Command::Plan(args) => train::plan::run(args),
        Command::Selftest(args) => train::selftest::run(args),
        _ => anyhow::bail!("`ewe-torch` does not do this\nhint: run it through `ewe`"),
    }
}

/// `ewe generate` with the engine as the model.
fn generate(args: &cli::data::generate::Args, quiet: bool) -> Result<u8> {
    on_a_runtime(async {
        // A dataset that cannot be used is said before a model is loaded.
        let grow = cli::data::generate::open(args).await?;
        let backend = local(args.model.as_deref(), &args.place, &args.engine, quiet)?;
        grow.run(args, quiet, &backend, None).await
    })
}

/// `ewe judge` with the engine as the model.
fn judge(args: &cli::data::judge::Args, quiet: bool) -> Result<u8> {
    on_a_runtime(async {
        let judge = cli::data::judge::open(args).await?;
        let backend = local(args.model.as_deref(), &args.place, &args.engine, quiet)?;
        judge.run(args, quiet, &backend, None).await
    })
}

/// Does something with a dataset, and closes that whichever way it ends.
fn on_a_runtime(work: impl Future<Output = Result<u8>>) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let ended = work.await;
        ewe::store::file::open::close_all().await;
        ended
    })
}

fn local(model: Option<&Path>, place: &Place, engine: &Engine, quiet: bool) -> Result<LocalBackend> {
    let model = model.expect("`ewe` hands over only what names a model");
    let config = eval::complete::config(engine, 24);
    let backend = LocalBackend::open(model, None, &place.device, &place.dtype, config)?;
    if !quiet {
        eprintln!("{}: {}", backend.model(), backend.budget_line());
    }
    Ok(backend)
}
