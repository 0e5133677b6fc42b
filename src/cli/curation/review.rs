//! `ewe review`

use std::path::PathBuf;

use super::list::SortOrder;
use crate::cli::args::select::Select;
use crate::{curate, leave::INTERRUPTED, store::Store, task::Review};

/// Arguments of `ewe review`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// The order of the tasks
    #[arg(long, value_enum, default_value = "id")]
    pub sort: SortOrder,

    /// Which tasks; pending ones where no review is given
    #[command(flatten)]
    pub select: Select,
}

/// Steps through tasks at the terminal. The exit code is 130 if a signal ended it.
pub async fn run(args: &Args) -> anyhow::Result<u8> {
    let store = Store::open(&args.db).await?;
    let mut filter = args.select.filter();
    store.check_choices(&filter).await?;
    filter.review = filter.review.or(Some(Review::Pending));
    let interrupted = curate::review::run(&store, filter, args.sort.into(), &curate::who()).await?;
    store.close().await;
    Ok(if interrupted { INTERRUPTED } else { 0 })
}
