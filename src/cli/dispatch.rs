//! Which command does what, for those of the data half.
//!
//! This is in the library, not in the program, because a future is compiled where it is polled:
//! `ewe` would compile every command again.

use super::{Cli, Command, curation, data, models, program};
use crate::store;
use crate::task::Review;

/// Runs a command of the data half and closes the dataset however it ends. Returns the exit code,
/// or none for a command that needs tensors, which `ewe-torch` runs.
///
/// # Errors
///
/// Those of the command.
pub fn run(cli: &Cli) -> anyhow::Result<Option<u8>> {
    // Commands that make one query start faster without a thread pool.
    let mut runtime = match cli.command {
        Command::Generate(_) | Command::Judge(_) | Command::Eval(_) | Command::Compare(_) => {
            tokio::runtime::Builder::new_multi_thread()
        }
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    runtime.enable_all().build()?.block_on(async {
        let ended = dispatch(cli).await;
        store::file::open::close_all().await;
        ended
    })
}

async fn dispatch(cli: &Cli) -> anyhow::Result<Option<u8>> {
    let globals = &cli.globals;
    let quiet = globals.quiet;
    let code = match &cli.command {
        Command::Init(args) => data::init::run(args, quiet).await.map(|()| 0),
        Command::Generate(args) if args.model.is_none() => data::generate::run(args, quiet).await,
        Command::Judge(args) if args.model.is_none() => data::judge::run(args, quiet).await,
        Command::Eval(args) if !args.has_local_model() => models::eval::run(args, quiet).await,
        Command::Compare(args) if !args.has_local_model() => models::compare::run(args, quiet).await,
        Command::Validate(args) => data::validate::run(args, quiet).await,
        Command::Recipe(args) => data::recipe::run(args).await.map(|()| 0),
        Command::Filter(args) => data::filter::run(args, quiet).await.map(|()| 0),
        Command::Import(args) => data::import::run(args, quiet).await.map(|()| 0),
        Command::AddDocuments(args) => data::add_documents::run(args, quiet).await,
        Command::Export(args) => data::export::run(args, globals).await.map(|()| 0),
        Command::List(args) => curation::list::run(args, quiet).await.map(|()| 0),
        Command::Show(args) => curation::show::run(args).await.map(|()| 0),
        Command::Search(args) => curation::search::run(args, quiet).await.map(|()| 0),
        Command::Candidates(args) => curation::candidates::run(args, quiet).await.map(|()| 0),
        Command::Rescue(args) => curation::rescue::run(args, quiet).await.map(|()| 0),
        Command::Accept(args) => curation::accept::run(args, Review::Accepted, quiet)
            .await
            .map(|()| 0),
        Command::Reject(args) => curation::accept::run(args, Review::Rejected, quiet)
            .await
            .map(|()| 0),
        Command::Unsure(args) => curation::unsure::run(args, quiet).await.map(|()| 0),
        Command::Assign(args) => curation::assign::run(args, quiet).await.map(|()| 0),
        Command::Agreement(args) => curation::agreement::run(args, quiet).await.map(|()| 0),
        Command::Comment(args) => curation::comment::run(args).await.map(|()| 0),
        Command::Edit(args) => curation::edit::run(args).await.map(|()| 0),
        Command::Field(args) => curation::field::run(args, quiet).await.map(|()| 0),
        Command::Label(args) => curation::label::run(args).await.map(|()| 0),
        Command::Undo(args) => curation::undo::run(args).await.map(|()| 0),
        Command::Log(args) => curation::log::run(args, quiet).await.map(|()| 0),
        Command::Review(args) => curation::review::run(args, quiet).await,
        Command::Backup(args) => data::backup::run(args, globals).await.map(|()| 0),
        Command::MergeDb(args) => data::merge_db::run(args, quiet).await.map(|()| 0),
        Command::Check(args) => data::check::run(args, globals).await,
        Command::Curate(args) => curation::curate::run(args, quiet).await,
        Command::Report(args) => curation::report::run(args, globals).await.map(|()| 0),
        Command::Stats(args) => curation::stats::run(args).await.map(|()| 0),
        Command::Push(args) => models::push::run(args, quiet).await.map(|()| 0),
        Command::Split(args) => data::split::run(args, quiet).await.map(|()| 0),
        Command::Gain(args) => models::gain::run(args, globals).await,
        Command::Config(args) => program::config::run(args, globals).await,
        Command::Demo(args) => program::demo::run(args, quiet).await,
        Command::Doctor(args) => program::doctor::run(args).await.map(|()| 0),
        Command::Completions(args) => program::completions::run(args).map(|()| 0),
        Command::Man(args) => program::man::run(args, globals).map(|()| 0),
        Command::Generate(_)
        | Command::Judge(_)
        | Command::Eval(_)
        | Command::Compare(_)
        | Command::Train(_)
        | Command::Merge(_)
        | Command::Plan(_)
        | Command::Complete(_)
        | Command::Score(_)
        | Command::Influence(_)
        | Command::Chat(_)
        | Command::Serve(_)
        | Command::Selftest(_) => return Ok(None),
    };
    code.map(Some)
}
