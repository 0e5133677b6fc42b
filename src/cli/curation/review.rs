//! `ewe review`

use std::path::PathBuf;

use super::after;
use crate::cli::args::order::{OrderParser, SortOrder};
use crate::cli::args::select::Select;
use crate::{curate, leave::INTERRUPTED, store::Store, task::Review};

/// Arguments of `ewe review`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// The reviewer whose opinions are given; the queue is what is assigned to this name and waits
    /// for an opinion
    #[arg(long = "as", id = "as", value_name = "NAME")]
    pub name: Option<String>,

    /// The order of the tasks; also by a field of your own, as field.NAME or field.NAME:desc
    #[arg(long, value_parser = OrderParser, default_value = "id")]
    pub sort: SortOrder,

    /// Which tasks; pending ones where no review is given
    #[command(flatten)]
    pub select: Select,
}

/// Steps through tasks at the terminal. The exit code is 130 if a signal ended it.
pub async fn run(args: &Args, quiet: bool) -> anyhow::Result<u8> {
    let store = Store::open(&args.db).await?;
    let mut filter = args.select.filter();
    store.check_choices(&filter).await?;
    filter.review = filter.review.or(Some(Review::Pending));
    let reviewer = match &args.name {
        Some(name) => Some(store.reviewer(name).await?),
        None => None,
    };
    let is_narrowed = filter.disagreement || filter.assigned_to.is_some() || filter.awaiting.is_some();
    if !is_narrowed {
        filter.awaiting.clone_from(&reviewer);
    }
    let sort = args.sort.sort(&store).await?;
    let is_reviewer = reviewer.is_some();
    let who = reviewer.unwrap_or_else(curate::who);
    let interrupted = curate::review::run(&store, filter, sort, &who, is_reviewer).await?;
    let next = after::review(&store, &args.db).await?;
    store.close().await;
    if !interrupted {
        next.say(quiet);
    }
    Ok(if interrupted { INTERRUPTED } else { 0 })
}
