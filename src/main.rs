//! `ewe`: the data half. Runs a command, prints its error, says by the exit code how it went: 0 done, 1 failed,
//! 2 usage, 130 interrupted after a clean stop. Commands that need tensors are handed over to `ewe-torch`.

use std::{
    os::unix::process::CommandExt,
    path::Path,
    process::{Command as Process, ExitCode},
};

use ewe::{
    cli::{self, Cli, Command},
    store, streams,
    task::Review,
};

fn main() -> ExitCode {
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    cli::log_to_stderr(&cli.globals);
    cli::end(&cli.command, run(&cli))
}

fn run(cli: &Cli) -> anyhow::Result<u8> {
    // Commands that ask the dataset one thing start faster without a pool of threads.
    let mut runtime = match cli.command {
        Command::Generate(_) | Command::Judge(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    runtime.enable_all().build()?.block_on(async {
        let ended = dispatch(cli).await;
        store::file::open::close_all().await;
        ended
    })
}

async fn dispatch(cli: &Cli) -> anyhow::Result<u8> {
    let globals = &cli.globals;
    match &cli.command {
        Command::Init(args) => cli::data::init::run(args, globals.quiet).await?,
        Command::Generate(args) if args.model.is_some() => return Err(hand_over()),
        Command::Generate(args) => return cli::data::generate::run(args, globals.quiet).await,
        Command::Judge(args) if args.model.is_some() => return Err(hand_over()),
        Command::Judge(args) => return cli::data::judge::run(args, globals.quiet).await,
        Command::Filter(args) => cli::data::filter::run(args, globals.quiet).await?,
        Command::Import(args) => cli::data::import::run(args, globals.quiet).await?,
        Command::Export(args) => cli::data::export::run(args, globals).await?,
        Command::List(args) => cli::curation::list::run(args).await?,
        Command::Show(args) => cli::curation::show::run(args).await?,
        Command::Search(args) => cli::curation::search::run(args).await?,
        Command::Accept(args) => cli::curation::accept::run(args, Review::Accepted).await?,
        Command::Reject(args) => cli::curation::accept::run(args, Review::Rejected).await?,
        Command::Edit(args) => cli::curation::edit::run(args).await?,
        Command::Undo(args) => cli::curation::undo::run(args).await?,
        Command::Log(args) => cli::curation::log::run(args).await?,
        Command::Review(args) => return cli::curation::review::run(args).await,
        Command::Backup(args) => cli::data::backup::run(args, globals).await?,
        Command::Check(args) => return cli::data::check::run(args, globals).await,
        Command::Curate(args) => return cli::curation::curate::run(args).await,
        Command::Report(args) => cli::curation::report::run(args, globals).await?,
        Command::Stats(args) => cli::curation::stats::run(args).await?,
        Command::Train(_)
        | Command::Merge(_)
        | Command::Plan(_)
        | Command::Complete(_)
        | Command::Score(_)
        | Command::Chat(_)
        | Command::Serve(_)
        | Command::Selftest(_) => return Err(hand_over()),
    }
    Ok(0)
}

/// Becomes `ewe-torch` with the same arguments: the one beside this program, else the one on the path. Returns only
/// when there is none.
fn hand_over() -> anyhow::Error {
    let beside = std::env::current_exe()
        .ok()
        .map(|ewe| ewe.with_file_name("ewe-torch"))
        .filter(|path| path.is_file());
    let program = beside.as_deref().unwrap_or(Path::new("ewe-torch"));
    let mut process = Process::new(program);
    process.args(std::env::args_os().skip(1));
    // libtorch's threads wait for one another by spinning, by default so long that two of them on cores shared with
    // other work lose most of their time to it. A short spin costs nothing on an idle machine (Gemma 270M trains at 330
    // tokens/s either way) and is five times faster on a busy one (150 tokens/s in place of 30, 2026-11-23).
    if ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"]
        .iter()
        .all(|name| std::env::var_os(name).is_none())
    {
        process.env("GOMP_SPINCOUNT", "10000");
    }
    streams::hand_over();
    let error = process.exec();
    anyhow::anyhow!(
        "this command needs `{}`, which does not start: {error}\nhint: `cargo build` makes it beside `ewe`; it needs libtorch, see `make setup`",
        program.display()
    )
}
