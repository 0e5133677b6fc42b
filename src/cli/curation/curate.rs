//! `ewe curate`

use std::{io::Write, net::SocketAddr, path::PathBuf, time::Duration};

use super::after;
use crate::cli::args::token;
use crate::{
    curate::{
        self,
        server::{Server, ServerConfig},
    },
    leave,
    signals::ShutdownSignals,
    store::{Store, teams::checked_name},
};

/// Arguments of `ewe curate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// Where to listen; an address that other machines can reach needs a token
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8017")]
    pub bind: SocketAddr,

    /// The name for the history, and of a reviewer whose opinions are given [default: your name]
    #[arg(long = "as", id = "as", value_name = "NAME")]
    pub name: Option<String>,

    /// What visitors must know, at least 8 characters.
    #[command(flatten)]
    pub token: token::Args,
}

/// How long the dataset may take to close: on a busy disk, seconds. Else its log stays beside it.
const CLOSING: Duration = Duration::from_secs(5);

/// How long to look for what comes next.
const SAYING: Duration = Duration::from_secs(1);

/// Serves the page until a signal arrives. Returns the exit code of an interrupted command.
pub async fn run(args: &Args, quiet: bool) -> anyhow::Result<u8> {
    let config = ServerConfig {
        bind: args.bind,
        token: args.token.read()?,
        who: match &args.name {
            Some(name) => checked_name(name)?.to_owned(),
            None => curate::who(),
        },
    };
    let store = Store::open_to_read(&args.db).await?;
    let server = Server::bind(store.clone(), config).await?;
    let mut out = crate::streams::stdout();
    writeln!(out, "{}", server.url())?;
    out.flush()?;
    if let Some(reason) = store.read_only_because() {
        eprintln!("only to look at: {reason}");
    }
    eprintln!("Ctrl-C stops it; everything is saved as you go");
    let mut signals = ShutdownSignals::listen()?;
    server.serve(signals.next()).await;
    // What comes next is worth a moment, not a wait: somebody wants to go.
    if let Ok(Ok(next)) = tokio::time::timeout(SAYING, after::review(&store, &args.db)).await {
        next.say(quiet);
    }
    // An export that nobody reads any more must not delay the end.
    if tokio::time::timeout(CLOSING, store.close()).await.is_err() {
        leave::at_once();
    }
    Ok(leave::INTERRUPTED)
}
