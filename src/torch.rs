//! `ewe-torch`: everything with tensors, on top of the `ewe` library. In reading order:
//!
//! - [`gguf`]: the file format of llama.cpp.
//! - [`model`]: GPT-J, GPT-NeoX, the Llama family, Gemma 3; shared layers, weights, the KV cache.
//! - [`engine`]: token generation: the running batch, sampling, the prefix cache.
//! - [`eval`], [`chat`]: `complete`, `score`, `influence`; `chat`, `serve`.
//! - [`distributed`]: processes that train one model together.
//! - [`train`]: `train`, `plan`, `selftest`.
//! - [`shim`]: what `tch` lacks of libtorch, in C++.

// For its macros, which replace those of the standard library.
#[macro_use]
extern crate ewe;

#[cfg(not(target_os = "linux"))]
compile_error!(
    "ewe-torch computes with libtorch on Linux only; --no-default-features builds `ewe` without it"
);

mod chat;
mod distributed;
mod engine;
mod eval;
mod gguf;
mod model;
mod shim;
mod train;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use engine::handle::LocalBackend;
use engine::questions::QuestionBackend;
use ewe::backend::Backend;
use ewe::cli::args::local::{DeviceArgs, EngineArgs};
use ewe::cli::{self, Cli, Command};
use ewe::client::batch_backend::BatchBackend;
use ewe::job::compare::ModelChoice;
use ewe::job::rows::PromptFormat;
use ewe::pipeline::compare::{Models, Role};
use ewe::pipeline::evaluate::models::{EvalModels, EvalRole, LikelihoodRow, TokenLoss};
use ewe::program::torch_half::launch;
use ewe::ranks::place::Place;
use futures::future::BoxFuture;

/// Requests at once of `ewe generate`, `ewe judge`, `ewe eval` and `ewe compare` on the CPU where
/// --batch is absent.
const DEFAULT_BATCH: u16 = 24;

fn main() -> ExitCode {
    let mut cli = match cli::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    if let (Command::Train(_), Ok(Some(place))) = (&cli.command, Place::of_environment()) {
        // One of several speaks.
        cli.globals.quiet |= place.rank > 0;
    }
    cli::log_to_stderr(&cli.globals);
    model::device::prepare();
    cli::end(&cli.command, model::fault::caught(|| run(&cli)))
}

fn run(cli: &Cli) -> Result<u8> {
    let quiet = cli.globals.quiet;
    match &cli.command {
        Command::Generate(args) => generate(args, quiet),
        Command::Judge(args) => judge(args, quiet),
        Command::Eval(args) => {
            let api = cli::models::eval::ApiModels::new(args)?;
            let models = EvaluatedModels { args, quiet, api };
            on_a_runtime(cli::models::eval::run_with(args, quiet, &models))
        }
        Command::Compare(args) => on_a_runtime(cli::models::compare::run_with(
            args,
            quiet,
            &ComparedModels { args, quiet },
        )),
        Command::Train(args) => train(args, cli),
        Command::Merge(args) => train::out::merge::run(&args.job(), quiet).map(|()| 0),
        Command::Complete(args) => eval::complete::run(&args.job()?, quiet).map(|()| 0),
        Command::Score(args) => eval::score::run(&args.job()?, quiet),
        Command::Influence(args) => eval::influence::run(&args.job()?, quiet),
        Command::Chat(args) => chat::terminal::run(&args.job(), quiet).map(|()| 0),
        Command::Serve(args) => chat::serve::run(&args.job()?, quiet),
        Command::Plan(args) => match args.serve_job() {
            Some(job) => engine::plan::run(&job),
            None => train::plan::run(&args.job()),
        },
        Command::Selftest(args) => selftest(args),
        Command::Doctor(_) => doctor(),
        _ => anyhow::bail!("`ewe-torch` does not do this\nhint: run it through `ewe`"),
    }
}

/// Runs `ewe train`: in this process, in several that it starts, or as one of several.
fn train(args: &cli::models::train::Args, cli: &Cli) -> Result<u8> {
    if let Some(ranks) = cli.ranks()? {
        return launch(&ranks);
    }
    let place = Place::of_environment()?;
    let done = args
        .job(&cli.options)
        .and_then(|job| train::run::run(&job, place.as_ref(), cli.globals.quiet));
    match place {
        Some(place) => distributed::end::leave(&place, done),
        None => done,
    }
}

/// Prints the tensor half's part of `ewe doctor`, which starts this program for it.
fn doctor() -> Result<u8> {
    let facts = model::device::report()
        .into_iter()
        .map(|(name, value)| (name, value.into()));
    let facts: serde_json::Map<String, serde_json::Value> = facts.collect();
    println!("{}", ewe::streams::json::pretty(&facts)?);
    Ok(0)
}

/// Runs `ewe selftest`, or one of its parts.
fn selftest(args: &cli::models::selftest::Args) -> Result<u8> {
    match &args.workload {
        Some(file) => train::selftest::workload::run(file, &args.device),
        None if args.kernels => train::selftest::kernels::run(&args.device, args.json),
        None => train::selftest::run(&args.device, args.json),
    }
}

/// Runs `ewe generate` with a local model.
fn generate(args: &cli::data::generate::Args, quiet: bool) -> Result<u8> {
    on_a_runtime(async {
        // Before the model is loaded, so that an unusable dataset shows at once.
        let grow = cli::data::generate::open(args).await?;
        let backend = local(args.model.as_deref(), &args.place, &args.engine, quiet)?;
        grow.run(args, quiet, &backend, None).await
    })
}

/// Runs `ewe judge` with a local model.
fn judge(args: &cli::data::judge::Args, quiet: bool) -> Result<u8> {
    on_a_runtime(async {
        let judge = cli::data::judge::open(args).await?;
        let backend = local(args.model.as_deref(), &args.place, &args.engine, quiet)?;
        judge.run(args, quiet, &backend, None).await
    })
}

/// The models of `ewe compare`, of which at least one is local.
struct ComparedModels<'a> {
    args: &'a cli::models::compare::Args,
    quiet: bool,
}

impl Models for ComparedModels<'_> {
    fn open<'a>(&'a self, choice: &'a ModelChoice, role: Role) -> BoxFuture<'a, Result<Box<dyn Backend>>> {
        Box::pin(async move {
            let (path, adapter) = match choice {
                ModelChoice::Endpoint { url, model } => return self.args.endpoint(url, model, role).await,
                ModelChoice::Local { path, adapter } => (path, adapter),
            };
            let spec = self.args.place.spec(path, adapter.as_deref());
            let limits = self.args.engine.limits(DEFAULT_BATCH);
            let backend = match role {
                Role::Judge => QuestionBackend::open_either(&spec, limits)?,
                Role::A | Role::B => {
                    QuestionBackend::open(&spec, limits, &PromptFormat::Chat(self.args.template.clone()))?
                }
            };
            if !self.quiet {
                eprintln!("{}: {}", role.as_str(), backend.line());
            }
            Ok(Box::new(backend) as Box<dyn Backend>)
        })
    }
}

/// The models of `ewe eval`, of which at least one is local.
struct EvaluatedModels<'a> {
    args: &'a cli::models::eval::Args,
    quiet: bool,
    api: cli::models::eval::ApiModels<'a>,
}

impl EvalModels for EvaluatedModels<'_> {
    fn open(&self, role: EvalRole) -> BoxFuture<'_, Result<Box<dyn Backend>>> {
        Box::pin(async move {
            let limits = self.args.engine.limits(DEFAULT_BATCH);
            let place = &self.args.place;
            let backend = match (role, &self.args.model, &self.args.judge) {
                (EvalRole::Evaluated, Some(model), _) => {
                    let spec = place.spec(model, self.args.adapter.as_deref());
                    QuestionBackend::open(&spec, limits, &self.args.format())?
                }
                (EvalRole::Judge, _, Some(ModelChoice::Local { path, adapter })) => {
                    QuestionBackend::open_either(&place.spec(path, adapter.as_deref()), limits)?
                }
                _ => return self.api.open(role).await,
            };
            if !self.quiet {
                eprintln!("{}", backend.line());
            }
            Ok(Box::new(backend) as Box<dyn Backend>)
        })
    }

    fn batch(&self, role: EvalRole) -> Option<&BatchBackend> {
        self.api.batch(role)
    }

    fn likelihood(
        &self,
        rows: &[LikelihoodRow<'_>],
        show: &mut dyn FnMut(usize),
    ) -> Option<Result<Vec<Option<TokenLoss>>>> {
        let model = self.args.model.as_deref()?;
        let spec = self.args.place.spec(model, self.args.adapter.as_deref());
        Some(eval::likelihood::of(&spec, &self.args.format(), rows, show))
    }
}

/// Runs `work` on a dataset, and closes the dataset however it ends.
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

/// Opens the local model that writes or judges tasks.
fn local(
    model: Option<&Path>,
    device: &DeviceArgs,
    engine: &EngineArgs,
    quiet: bool,
) -> Result<LocalBackend> {
    let model = model.expect("`ewe` starts this program for a local model only");
    if !quiet {
        // A large model takes a minute.
        eprintln!("loading {}", model.display());
    }
    let backend = engine::open::batched(&device.spec(model, None), engine.limits(DEFAULT_BATCH))?;
    for line in backend.budget_lines() {
        tracing::info!("{}: {line}", backend.model());
    }
    Ok(backend)
}
